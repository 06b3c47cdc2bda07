/* tracker t.js 1: keeps the click id first-party, fills forms, reports conversions. */
(() => {
  "use strict";
  const me = document.currentScript;
  if (!me || window.tracker) return;
  const origin = new URL(me.src).origin;
  const key = me.dataset.key;
  const name = me.dataset.param || "cid";
  const days = Number(me.dataset.days) || 30;
  const shape = /^[\w-]{28}$/;
  const store = "tracker_cid";
  let consent = me.dataset.consent !== "wait";

  const attempt = (what) => {
    try {
      return what();
    } catch {
      return null; // storage may be blocked; everything else goes on
    }
  };
  const inUrl = () => {
    const found = new URLSearchParams(location.search).getAll(name).filter((v) => shape.test(v));
    return found.pop() || "";
  };
  const kept = () => {
    const cookie = attempt(() => document.cookie.match(new RegExp("(?:^|; )" + store + "=([\\w-]{28})")));
    if (cookie) return cookie[1];
    const [value, until] = (attempt(() => localStorage.getItem(store)) || "").split(" ");
    return shape.test(value) && until > Date.now() ? value : "";
  };
  const keep = (cid) => {
    const age = days * 86400;
    attempt(() => {
      document.cookie =
        store + "=" + cid + "; path=/; max-age=" + age + "; samesite=lax" + (location.protocol === "https:" ? "; secure" : "");
    });
    attempt(() => localStorage.setItem(store, cid + " " + (Date.now() + age * 1000)));
  };
  const fill = () => {
    const cid = api.cid();
    if (!cid) return;
    for (const field of document.querySelectorAll('input[type="hidden"][name="' + name + '"], input[data-tracker="cid"]')) {
      if (!field.value) field.value = cid;
    }
  };

  const api = (window.tracker = {
    /** The click id of this visitor, or "". */
    cid: () => (navigator.globalPrivacyControl ? "" : inUrl() || kept()),
    /** For a consent dialogue: tracker.consent(true) once the visitor agreed. */
    consent: (given) => {
      consent = given;
      start();
    },
    /** Reports a conversion: {order, value, currency, goal, customer}. */
    convert: (sale = {}) => {
      const query = new URLSearchParams();
      for (const [field, value] of Object.entries({ cid: api.cid(), ...sale })) {
        if (value !== undefined && value !== null && value !== "") query.set(field, value);
      }
      const url = origin + "/c/" + key + ".gif?" + query;
      const image = () => {
        new Image().src = url;
      };
      if (!window.fetch) return image();
      fetch(url, { mode: "no-cors", keepalive: true, credentials: "omit" }).catch(image);
    },
  });

  const start = () => {
    if (!consent || navigator.globalPrivacyControl) return;
    const cid = inUrl();
    if (cid) keep(cid);
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", fill);
    else fill();
  };
  start();
})();
