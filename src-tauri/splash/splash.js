// Draws what the program says. It is told everything each time.
"use strict";
{
  const line = (tag, text, kind) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const draw = ({ heading, lines, failure, scheme }) => {
    document.title = failure ? "Ackscope · not started" : heading ? `Ackscope · ${heading}` : "Ackscope";
    document.getElementById("heading").textContent = failure ? failure.what : heading;
    document.body.className = failure ? "failed" : "";
    const log = document.getElementById("lines");
    log.replaceChildren(...lines.map((text) => line("li", text)));
    log.scrollTop = log.scrollHeight;
    const advice = document.getElementById("advice");
    advice.replaceChildren();
    if (!failure) return;
    advice.append(line("p", failure.means), line("p", failure.advice));
    const offers = line("p", "", "offers");
    for (const [asked, name] of failure.offers) {
      const offer = line("a", name);
      offer.href = `${scheme}:${asked}`;
      offers.append(offer);
    }
    advice.append(offers);
    offers.querySelector("a")?.focus();
  };
  Object.defineProperty(window, "ackscope", { value: Object.freeze({ draw }) });
}
