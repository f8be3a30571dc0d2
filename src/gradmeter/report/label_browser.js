// The browser of doubtful labels: filters and orders the cards that are in the page, the most suspicious first.
(() => {
  "use strict";
  const { byId, option, pages } = browser;
  const FILTERS = ["reason", "label", "suggestion"];
  const list = byId("browse-samples");
  const cards = [...list.children];
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const valueOf = (name) => byId(`browse-${name}`).value;
  const ORDERS = {
    most: () => 0,
    least: () => 0,
    label: (one, other) => compare(one.dataset.label, other.dataset.label) ||
      compare(one.dataset.suggestion, other.dataset.suggestion),
    suggestion: (one, other) => compare(one.dataset.suggestion, other.dataset.suggestion),
  };

  // A filter's value is the number of a value of the cards, or empty for all.
  const values = Object.fromEntries(FILTERS.map((name) => [
    name, [...new Set(cards.map((card) => card.dataset[name]))].sort(name === "reason" ? () => 0 : compare),
  ]));
  const passes = (card, name) => valueOf(name) === "" || card.dataset[name] === values[name][Number(valueOf(name))];

  function rows() {
    const most = Number(valueOf("p")), order = valueOf("order");
    const chosen = cards.filter((card) => FILTERS.every((name) => passes(card, name)) && Number(card.dataset.p) <= most);
    return order === "least" ? chosen.reverse() : chosen.sort(ORDERS[order]);
  }

  function item(card) {
    card.hidden = false;
    return card;
  }

  for (const name of FILTERS) values[name].forEach((value, number) => option(byId(`browse-${name}`), number, value));
  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  pages({ size: Number(list.dataset.size), rows, item, note: "" })();
})();
