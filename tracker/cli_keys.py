"""The command about the keys that click ids verify themselves by."""

from __future__ import annotations

import click

from tracker.config import Secrets, Settings


@click.group()
def keys() -> None:
    """Look after the keys of click ids."""


@keys.command()
def rotate() -> None:
    """Add a key that new click ids are made under. Those made before keep verifying, for good.

    It is in force once the server has started again. Where several machines share a database, copy secrets.json to each
    first; what one of them cannot read meanwhile is kept in the inbox and matched when it can.
    """
    settings = Settings.from_env()
    number = Secrets.rotate(settings.data_dir)
    click.echo(f"Key {number} is added to {settings.data_dir}/secrets.json.")
    click.echo("Copy that file to your other machines and keep a backup, then start each server again.", err=True)
