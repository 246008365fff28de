"use strict";
// Reads numbers off the curves, and loads the page again while it follows a training.
(() => {
  const make = (name, parent, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };
  const line = (parent, words, value, colour) => {
    const row = parent.appendChild(document.createElement("div"));
    const name = row.appendChild(document.createElement("span"));
    if (colour !== null) {
      const swatch = name.appendChild(document.createElement("span"));
      swatch.className = "swatch";
      swatch.textContent = document.body.dataset.signs[colour];
      swatch.style.setProperty("--c", `var(--s${colour})`);
    }
    name.append(words);
    row.appendChild(document.createElement("b")).textContent = value;
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const { axes, series, epochs } = JSON.parse(figure.querySelector("script").textContent);
    const svg = figure.querySelector("svg"), tip = figure.querySelector(".tip");
    const runs = new Set(series.map((each) => each.run)).size;
    const [left, right, low, high] = axes.x, [bottom, top, least, most] = axes.y;
    const across = (epoch) => left + ((epoch + 1 - low) / (high - low)) * (right - left);
    const up = (value) => bottom + ((value - least) / (most - least)) * (top - bottom);
    const cursor = make("line", svg, { class: "cursor", y1: top, y2: bottom, visibility: "hidden" });
    const dots = series.map((each) =>
      make("circle", svg, { class: "dot", r: 3.5, fill: `var(--s${each.colour})`, visibility: "hidden" }));
    const cover = make("rect", svg, { x: left, y: top, width: right - left, height: bottom - top, fill: "transparent" });
    make("title", cover, {}); // or the picture's own would cover the numbers
    svg.setAttribute("tabindex", "0");
    let shown = -1;

    const show = (place) => {
      shown = place;
      const epoch = epochs[place];
      cursor.setAttribute("x1", across(epoch));
      cursor.setAttribute("x2", across(epoch));
      cursor.setAttribute("visibility", "visible");
      tip.replaceChildren();
      line(tip, `epoch ${epoch + 1}`, "", null);
      series.forEach((each, number) => {
        const at = each.at.indexOf(epoch), value = at < 0 ? null : each.values[at];
        dots[number].setAttribute("visibility", value === null ? "hidden" : "visible");
        if (at < 0) return;
        line(tip, `${runs > 1 ? `${each.run}, ` : ""}${each.part}`, value === null ? "not finite" : value, each.colour);
        if (value === null) return;
        dots[number].setAttribute("cx", across(epoch));
        dots[number].setAttribute("cy", up(value));
      });
      tip.hidden = false;
      const box = svg.getBoundingClientRect(), outer = figure.getBoundingClientRect();
      const x = box.left - outer.left + (across(epoch) / svg.viewBox.baseVal.width) * box.width;
      const room = outer.width - tip.offsetWidth - 8;
      const beside = x + 12 <= room ? x + 12 : x - tip.offsetWidth - 12;
      tip.style.left = `${Math.max(8, Math.min(beside, room))}px`;
      const below = box.bottom + tip.offsetHeight <= innerHeight; // never on the curves
      tip.style.top = `${below ? box.bottom - outer.top : box.top - outer.top - tip.offsetHeight}px`;
    };
    const hide = () => {
      shown = -1;
      tip.hidden = true;
      for (const each of [cursor, ...dots]) each.setAttribute("visibility", "hidden");
    };
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const gaps = epochs.map((epoch) => Math.abs(across(epoch) - x));
      show(gaps.indexOf(Math.min(...gaps)));
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const last = epochs.length - 1;
      const to = { ArrowLeft: shown < 0 ? last : Math.max(shown - 1, 0), ArrowRight: Math.min(shown + 1, last),
        Home: 0, End: last }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      show(to);
    });
  }

  const seconds = Number(document.body.dataset.reload);
  if (!seconds) return;
  const kept = `fastconv ${location.pathname}`;
  try { // a page in a frame may have no storage
    const y = sessionStorage.getItem(kept);
    if (y !== null) scrollTo(0, Number(y));
  } catch { /* the browser's own memory of the place is enough */ }
  const again = () => {
    if (document.querySelector("figure.chart .tip:not([hidden])")) return; // somebody is reading
    try { sessionStorage.setItem(kept, String(scrollY)); } catch { /* as above */ }
    location.reload();
  };
  setInterval(again, 1000 * seconds);
})();
