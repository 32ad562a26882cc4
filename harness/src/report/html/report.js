"use strict";
// Everything is in the markup already; this folds, filters and points. It reads texts and never makes markup of them.
(() => {
  document.documentElement.classList.add("scripted");
  const tip = document.getElementById("tip");

  // ---- the tooltip --------------------------------------------------------------------------------------
  const showTip = (target) => {
    tip.textContent = target.getAttribute("data-t");
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const x = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, x)}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  };
  const hideTip = () => {
    tip.hidden = true;
  };
  document.addEventListener("pointerover", (event) => {
    const target = event.target instanceof Element && event.target.closest("[data-t]");
    if (target) showTip(target);
    else hideTip();
  });
  document.addEventListener("scroll", hideTip, { passive: true });

  for (const table of document.querySelectorAll("table.lanes")) {
    const rows = [...table.querySelectorAll("tr.lane")];
    const eventsOf = (row) => document.getElementById(`${row.id}-events`);

    // ---- folding ----------------------------------------------------------------------------------------
    const fold = (row, open) => {
      row.querySelector("button").setAttribute("aria-expanded", String(open));
      eventsOf(row).classList.toggle("open", open);
    };
    for (const row of rows) fold(row, false);
    table.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) fold(button.closest("tr"), button.getAttribute("aria-expanded") !== "true");
    });

    // ---- keys: one lane can be reached by Tab, the arrows do the rest -----------------------------------
    const drawings = rows.map((row) => row.querySelector("svg.lane"));
    let reachable = drawings[0];
    for (const drawing of drawings) drawing.setAttribute("tabindex", "-1");
    if (reachable) reachable.setAttribute("tabindex", "0");
    const reach = (drawing) => {
      reachable.setAttribute("tabindex", "-1");
      reachable = drawing;
      reachable.setAttribute("tabindex", "0");
    };
    const leave = (drawing) => {
      for (const here of drawing.querySelectorAll(".here")) here.classList.remove("here");
      hideTip();
    };
    const step = (drawing, by) => {
      const marks = [...drawing.querySelectorAll("[data-t]")].sort(
        (one, other) => one.getBoundingClientRect().left - other.getBoundingClientRect().left,
      );
      const at = marks.findIndex((mark) => mark.classList.contains("here"));
      const next = marks[at < 0 ? (by > 0 ? 0 : marks.length - 1) : Math.min(Math.max(at + by, 0), marks.length - 1)];
      leave(drawing);
      if (next) {
        next.classList.add("here");
        showTip(next);
      }
    };
    table.addEventListener("keydown", (event) => {
      const drawing = event.target.closest("svg.lane");
      if (!drawing) return;
      const shown = drawings.filter((one) => !one.closest("tr").hidden);
      const move = (to) => {
        const next = shown[Math.min(Math.max(to, 0), shown.length - 1)];
        reach(next);
        next.focus();
        next.scrollIntoView({ block: "nearest" });
      };
      const at = shown.indexOf(drawing);
      const act = {
        ArrowDown: () => move(at + 1),
        ArrowUp: () => move(at - 1),
        Home: () => move(0),
        End: () => move(shown.length - 1),
        ArrowRight: () => step(drawing, 1),
        ArrowLeft: () => step(drawing, -1),
        Escape: () => leave(drawing),
        Enter: () => drawing.closest("tr").querySelector("button").click(),
      }[event.key];
      if (act) {
        event.preventDefault();
        act();
      }
    });
    table.addEventListener("focusin", (event) => {
      const drawing = event.target.closest("svg.lane");
      if (drawing) reach(drawing);
    });
    table.addEventListener("focusout", (event) => {
      const drawing = event.target.closest("svg.lane");
      if (drawing) leave(drawing);
    });

    // ---- the filter -------------------------------------------------------------------------------------
    const controls = table.parentElement.querySelector(".filter");
    const search = controls.querySelector("input[type=search]");
    const onlyWrong = controls.querySelector("input[type=checkbox]");
    const said = controls.querySelector("output");
    const all = said.textContent;
    const texts = new Map();
    const textOf = (row) => {
      if (!texts.has(row)) texts.set(row, `${row.textContent}\n${eventsOf(row).textContent}`.toLowerCase());
      return texts.get(row);
    };
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const fits = (!onlyWrong.checked || row.classList.contains("wrong")) &&
          words.every((word) => textOf(row).includes(word));
        row.hidden = !fits;
        eventsOf(row).hidden = !fits;
        if (fits) count += 1;
      }
      const isFiltered = words.length > 0 || onlyWrong.checked;
      // A mark between lanes that are not its neighbours would mislead.
      for (const row of table.querySelectorAll("tr.across")) row.hidden = words.length > 0;
      said.textContent = isFiltered ? `${count.toLocaleString("en")} of ${all}` : all;
      const first = rows.find((row) => !row.hidden);
      if (first && reachable.closest("tr").hidden) reach(first.querySelector("svg.lane"));
    };
    search.addEventListener("input", apply);
    onlyWrong.addEventListener("change", apply);

    // ---- a link to a lane shows it, whatever the filter says ----------------------------------------------
    const visit = () => {
      const row = rows.find((one) => `#${one.id}` === location.hash);
      if (!row) return;
      search.value = "";
      onlyWrong.checked = false;
      apply();
      fold(row, true);
      row.scrollIntoView({ block: "center" });
    };
    addEventListener("hashchange", visit);
    visit();
  }
})();
