// What the browsers of samples in reports share: options of selects, and a list that is shown a page at a time.
const browser = (() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const count = (number) => number.toLocaleString("en-US");

  function option(select, value, text) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    select.append(made);
  }

  // Returns a function that shows the first page of rows(); it also runs when a control changes. item(row) is an element
  // of the list, and note a sentence after the number of rows.
  function pages({ size, rows, item, note }) {
    let shown = size;
    function show() {
      const chosen = rows();
      byId("browse-samples").replaceChildren(...chosen.slice(0, shown).map(item));
      byId("browse-count").textContent = `${count(Math.min(shown, chosen.length))} of ${count(chosen.length)} shown.${note}`;
      byId("browse-more").hidden = chosen.length <= shown;
    }
    function first() {
      shown = size;
      show();
    }
    byId("browser-controls").addEventListener("change", first);
    byId("browser-controls").addEventListener("submit", (event) => event.preventDefault());
    byId("browse-more").addEventListener("click", () => { shown += size; show(); });
    return first;
  }

  return { byId, count, option, pages };
})();
