(function () {
  var say = document.getElementById("say"), bar = document.getElementById("bar"),
    took = document.getElementById("took"), dots = document.getElementById("dots"),
    title = document.getElementById("title"), began = Date.now(), wait = 500;
  setInterval(function () {
    took.textContent = Math.round((Date.now() - began) / 1000) + " s";
  }, 1000);
  function again() { location.reload(); }
  function ask() {
    fetch(location.href, { headers: { Accept: "application/vnd.landscape-router.status+json" }, cache: "no-store" })
      .then(function (r) { return r.ok ? r.json() : Promise.reject(); })
      .then(function (s) {
        wait = 500;
        if (s.ready) return again();
        say.textContent = s.text;
        bar.hidden = false;
        if (typeof s.fraction === "number") bar.value = s.fraction; else bar.removeAttribute("value");
        if (s.failed) {
          title.textContent = "Workspace server could not be started";
          say.className = "bad";
          dots.hidden = bar.hidden = true;
          setTimeout(again, Math.max(2, s.retryAfterSeconds || 5) * 1000);
        } else if (s.asleep) setTimeout(again, 500);
        else setTimeout(ask, wait);
      })
      .catch(function () { wait = Math.min(wait * 2, 8000); setTimeout(ask, wait); });
  }
  setTimeout(ask, 250);
})();
