/*! tracker t.js, version 1 */
// The source of the newest t.<n>.js, which `make script` writes. How a page uses it stands in docs/installing.md.
(() => {
  const before = window.tracker;
  // A tag manager may run this where the browser does not say which tag it came by.
  const me =
    document.currentScript || document.querySelector('script[data-key][src*="/t."],script[src*="/t."][src*="key="]');
  // The second one on a page leaves everything to the first.
  if (!me || before?.convert) return;

  const src = new URL(me.src);
  const option = (name) => me.dataset[name] || src.searchParams.get(name) || "";
  const param = option("param") || "cid";
  const age = (Number(option("days")) || 30) * 864e5;
  const domain = option("domain");
  const now = Date.now;
  const IDS = "tracker_cid";
  const SALES = "tracker_sales";
  const TEST = "tracker_test";
  let consent = option("consent") !== "wait";
  const held = [];
  const memory = {};
  let imagesBlocked;
  let leaving;

  const ready = () => consent && !document.prerendering;
  const gpc = () => navigator.globalPrivacyControl;
  const attempt = (what) => {
    try {
      return what();
    } catch {}
  };

  // Where storage is blocked, the page remembers by itself.
  const storage = (name) => (name === TEST ? sessionStorage : localStorage);
  const load = (name) => attempt(() => JSON.parse(storage(name).getItem(name)) || []) || memory[name] || [];
  const save = (name, list) => {
    memory[name] = list;
    attempt(() => (list.length ? storage(name).setItem(name, JSON.stringify(list)) : storage(name).removeItem(name)));
  };
  const cookie = () => attempt(() => document.cookie.match("(^|; )" + IDS + "=([\\w-]{28})(;|$)")[2]) || "";
  const setCookie = (cid, ms) =>
    attempt(() => {
      document.cookie =
        `${IDS}=${cid}; path=/; samesite=lax; max-age=${Math.floor(ms / 1000)}` +
        (domain && "; domain=" + domain) +
        (location.protocol === "https:" ? "; secure" : "");
    });

  // The URL that was opened counts too: a shop may have tidied it before this script came.
  const opened = attempt(() => new URL(performance.getEntriesByType("navigation")[0].name).search);
  const inUrl = (name, shape) =>
    new URLSearchParams(opened + "&" + location.search.slice(1)).getAll(name).filter((value) => shape.test(value)).pop();

  // [click id, until when] in the order they were first seen: going back to an old one makes it no newer.
  const touches = () => {
    if (!ready() || gpc()) return [];
    const list = new Map(load(IDS).filter((touch) => touch[1] > now()));
    for (const cid of [cookie(), inUrl(param, /^[\w-]{28}$/)]) {
      if (cid && !list.has(cid)) list.set(cid, now() + age);
    }
    return [...list].slice(-10);
  };
  const ids = () => touches().map((touch) => touch[0]);

  const fill = (cid) => {
    const known = ids();
    for (const field of document.querySelectorAll('input[type=hidden][name="' + param + '"],input[data-tracker=cid]')) {
      if (!field.value || known.includes(field.value)) field.value = cid;
    }
  };

  const start = () => {
    if (!ready()) return;
    const test = inUrl(TEST, /^[a-z\d]{4,32}$/i);
    if (test) save(TEST, [test]);
    const list = touches();
    const [cid, until] = list.at(-1) || ["", 0];
    save(IDS, list);
    // A cookie that the shop's server has set lives longer than one written here.
    if (cookie() !== cid) setCookie(cid, until - now());
    fill(cid);
    held.splice(0).forEach(convert);
    flush();
  };

  const anonymous = (query) => {
    if (gpc()) for (const name of ["cid", "touches", "customer"]) query.delete(name);
    return String(query);
  };
  const convert = (sale) => {
    if (!ready()) return held.push(sale);
    start();
    const known = ids();
    const report = {
      event_id: crypto.getRandomValues(new Uint32Array(4)).join("-"),
      cid: known.at(-1),
      touches: known[1] && known.join("."),
      test: load(TEST)[0],
      ...sale,
    };
    const query = new URLSearchParams(Object.entries(report).filter(([, value]) => (value ?? "") !== ""));
    save(SALES, [...load(SALES), [anonymous(query), now(), 0]].slice(-20));
    flush();
  };

  // [report, when it was made, when it may be sent]. It waits here until an answer says that it has arrived.
  const flush = () => {
    const list = load(SALES).filter((sale) => sale[1] > now() - 6048e5);
    const due = list.filter((sale) => sale[2] < now());
    for (const sale of due) sale[2] = now() + 6e4;
    save(SALES, list);
    due.forEach(send);
  };
  const send = (sale) => {
    const url = `${src.origin}/c/${option("key")}.gif?${anonymous(new URLSearchParams(sale[0]))}`;
    const isOther = (one) => one[0] !== sale[0];
    const arrived = () => save(SALES, load(SALES).filter(isOther));
    const failed = () => save(SALES, load(SALES).map((one) => (isOther(one) ? one : [one[0], one[1], 0])));
    const element = (tag) => Object.assign(document.createElement(tag), { src: url, nonce: me.nonce });
    // A policy that let this script in lets us ask for our picture as if it were one; nothing of it is run.
    const byScript = () => {
      document.head.append(element("script"));
      arrived();
    };
    const byImage = () => {
      // Chromium calls a request failed that goes on while its page is left.
      if (leaving) return;
      const image = element("img");
      image.onload = arrived;
      image.onerror = () => setTimeout(() => (imagesBlocked && navigator.onLine ? byScript() : failed()));
    };
    fetch(url, { keepalive: true, credentials: "omit" }).then((answer) => (answer.ok ? arrived() : failed()), byImage);
  };

  const api = (window.tracker = {
    cid: () => ids().at(-1) || "",
    consent: (given) => {
      if (!given) {
        fill("");
        setCookie("", 0);
        for (const name of [IDS, SALES, TEST]) save(name, []);
      }
      consent = given;
      start();
    },
    convert,
    push: (...calls) => calls.forEach(([name, value]) => api[name](value)),
  });

  for (const name of ["pushState", "replaceState"]) {
    const real = history[name];
    history[name] = function (...values) {
      real.apply(this, values);
      start();
    };
  }
  for (const name of ["popstate", "pageshow", "online", "DOMContentLoaded", "prerenderingchange", "submit"]) {
    addEventListener(name, start, true);
  }
  for (const name of ["pagehide", "pageshow"]) addEventListener(name, () => (leaving = name === "pagehide"));
  addEventListener("securitypolicyviolation", (event) => {
    imagesBlocked ||= event.effectiveDirective === "img-src" && event.blockedURI.startsWith(src.origin);
  });

  start();
  if (Array.isArray(before)) api.push(...before);
  const sale = {};
  for (const name of ["order", "value", "currency", "goal", "customer"]) sale[name] = option(name);
  if (sale.order || sale.value || sale.goal) convert(sale);
})();
