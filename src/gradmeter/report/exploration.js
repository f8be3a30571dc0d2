// The slider on the threshold and the browser of samples of a report. All text from the data is set as textContent.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("exploration").textContent);
  const { groups, thresholds, samples, marked } = data;
  const { byId, count, option, pages } = browser;
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 24;
  const RIGHT = 0; // the first group holds the right predictions

  // Never rounded to 0 or 100 %.
  function percent(share) {
    if (share === 0 || share === 1) return `${100 * share}\u00a0%`;
    for (let digits = 1; digits < 12; digits++) {
      const text = (100 * share).toFixed(digits);
      if (Number(text) > 0 && Number(text) < 100) return `${text}\u00a0%`;
    }
    return `${100 * share}\u00a0%`;
  }

  function probability(value) {
    for (let digits = 4; digits < 17; digits++) {
      const text = value.toFixed(digits);
      if (value === 0 || value === 1 || (Number(text) > 0 && Number(text) < 1)) return text;
    }
    return String(value);
  }

  const compared = (value) => (value < 1e-4 ? "<0.0001" : value > 1 - 1e-4 ? ">0.9999" : value.toFixed(4));

  // What a threshold accepts, of known inputs or of all.
  function outcome(at, population) {
    const members = groups.filter((group) => population === "all" || group.known);
    const total = members.reduce((sum, group) => sum + group.samples, 0);
    const accepted = members.reduce((sum, group) => sum + group.accepted[at], 0);
    const errors = accepted - groups[RIGHT].accepted[at];
    return { total, accepted, errors, coverage: accepted / total, risk: accepted ? errors / accepted : 0 };
  }

  const slider = byId("threshold");
  const population = () => document.querySelector("input[name=population]:checked")?.value ?? "known";

  function status(at) {
    if (!data.guaranteed) return "There is no risk guarantee: the errors are only observed.";
    if (at !== marked) {
      const name = `${data.score} of at least ${probability(thresholds[marked])}`;
      return `The guarantee holds at this threshold only: ${name}. Here, the errors are only observed.`;
    }
    return population() === "known" || data.covers_all
      ? `At the guaranteed threshold: with ${data.confidence} confidence, at most ${data.limit} errors among the accepted.`
      : "At the guaranteed threshold, but the guarantee does not cover all of these unknown inputs: only observed.";
  }

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent?.append(made);
    return made;
  }

  // The largest of 1, 2, 2.5 and 5 times a power of ten that gives at least three steps.
  function step(range) {
    const power = 10 ** Math.floor(Math.log10(range / 3));
    return [5, 2.5, 2, 1].map((factor) => factor * power).find((size) => range / size >= 3) ?? power;
  }

  const FRAME = { left: 78, right: 612, top: 14, bottom: 252 };

  function draw(at) {
    const svg = byId("curve");
    const points = thresholds.map((_, index) => outcome(index, population())).filter((point) => point.accepted > 0);
    const highest = Math.max(...points.map((point) => point.risk), data.risk ?? 0, 0.001) * 1.05;
    const x = (coverage) => FRAME.left + coverage * (FRAME.right - FRAME.left);
    const y = (risk) => FRAME.bottom - (risk / highest) * (FRAME.bottom - FRAME.top);
    svg.replaceChildren();
    const text = (content, attributes) => { element("text", attributes, svg).textContent = content; };
    const size = step(highest);
    for (let index = 0; index * size <= highest; index++) {
      const level = y(index * size);
      element("line", { x1: FRAME.left, x2: FRAME.right, y1: level, y2: level, class: "grid" }, svg);
      text(String(Number((100 * index * size).toPrecision(6))), { x: FRAME.left - 8, y: level + 5, "text-anchor": "end" });
    }
    for (const share of [0, 0.2, 0.4, 0.6, 0.8, 1])
      text(String(Math.round(100 * share)), { x: x(share), y: FRAME.bottom + 24, "text-anchor": "middle" });
    text("accepted (%)", { x: (FRAME.left + FRAME.right) / 2, y: FRAME.bottom + 50, "text-anchor": "middle" });
    text("errors among them (%)", { x: 0, y: 0, "text-anchor": "middle",
      transform: `translate(20 ${(FRAME.top + FRAME.bottom) / 2}) rotate(-90)` });
    if (data.guaranteed) {
      element("line", { x1: FRAME.left, x2: FRAME.right, y1: y(data.risk), y2: y(data.risk), class: "limit" }, svg);
      text(`limit of the guarantee, ${data.limit}`, { x: FRAME.left + 8, y: y(data.risk) - 7 });
    }
    const path = points.map((point) => `${x(point.coverage).toFixed(1)},${y(point.risk).toFixed(1)}`).join(" ");
    element("polyline", { points: path, class: "line" }, svg);
    const mark = outcome(marked, population());
    const [left, top] = [x(mark.coverage), y(mark.risk)];
    element("path", { d: `M${left} ${top - 8}l8 8l-8 8l-8 -8z`, class: "mark" }, svg);
    const chosen = outcome(at, population());
    element("circle", { cx: x(chosen.coverage), cy: y(chosen.risk), r: 6, class: "chosen" }, svg);
    svg.setAttribute("aria-label", `Errors among the accepted over the accepted share. Chosen: ${percent(chosen.risk)} ` +
      `errors among ${percent(chosen.coverage)} accepted.`);
  }

  function show() {
    const at = Number(slider.value);
    const { total, accepted, errors, coverage, risk } = outcome(at, population());
    byId("threshold-value").textContent = probability(thresholds[at]);
    slider.setAttribute("aria-valuetext", `${probability(thresholds[at])}, ${percent(coverage)} accepted`);
    byId("accepted-share").textContent = `${percent(coverage)} (${count(accepted)} of ${count(total)})`;
    byId("accepted-risk").textContent = accepted ? `${percent(risk)} (${count(errors)})` : "none accepted";
    byId("guarantee-status").textContent = status(at);
    byId("guarantee-status").classList.toggle("left", !data.guaranteed || at !== marked);
    byId("reset").disabled = at === marked;
    byId("table-threshold").textContent = at === marked ? initialCaption : `threshold ${probability(thresholds[at])}`;
    [...byId("group-counts").tBodies[0].rows].forEach((row, index) => {
      const group = groups[index];
      row.cells[2].textContent = count(group.accepted[at]);
      row.cells[3].textContent = ((100 * group.accepted[at]) / group.samples).toFixed(1);
    });
    draw(at);
  }

  const initialCaption = byId("table-threshold").textContent;

  // The browser of samples.
  const isAccepted = (row) => samples.passed[row] > Number(slider.value);
  const isWrong = (row) => samples.label[row] !== samples.prediction[row];

  function reasonOf(row) {
    if (isAccepted(row)) return "accepted";
    const [kind, ...layers] = samples.reason[row] ?? ["not accepted"];
    return layers.length ? `${kind}: ${layers.map((layer) => samples.layers[layer]).join(", ")}` : kind;
  }

  function chosenRows() {
    const group = byId("browse-group").value, verdict = byId("browse-verdict").value;
    const scores = samples.scores[byId("browse-score").value], order = byId("browse-order").value;
    const rows = samples.id.map((_, row) => row).filter((row) => {
      if (group !== "" && samples.group[row] !== Number(group)) return false;
      if (verdict === "accepted") return isAccepted(row);
      if (verdict === "rejected") return !isAccepted(row);
      return verdict === "" || (!isAccepted(row) && samples.reason[row]?.[0] === verdict);
    });
    const at = thresholds[Number(slider.value)];
    const keys = {
      errors: (row) => (isWrong(row) && isAccepted(row) ? 0 : isWrong(row) ? 2 : 4) - scores[row],
      least: (row) => scores[row],
      most: (row) => -scores[row],
      nearest: (row) => Math.abs(scores[row] - at),
    };
    const key = keys[order];
    return rows.sort((first, second) => key(first) - key(second) || first - second);
  }

  function line(parent, text, name, tag = "span") {
    const made = document.createElement(tag);
    made.textContent = text;
    if (name) made.className = name;
    parent.append(made);
    return made;
  }

  function card(row) {
    const item = document.createElement("li");
    item.title = samples.id[row];
    const picture = samples.picture[row];
    if (picture !== null) {
      const image = document.createElement("img");
      image.src = `data:image/${picture.startsWith("/") ? "jpeg" : "png"};base64,${picture}`;
      image.alt = samples.id[row];
      item.append(image);
    } else {
      line(item, samples.text[row] ?? samples.id[row], "", "q").dir = "auto";
    }
    const prediction = line(item, samples.classes[samples.prediction[row]], "");
    if (samples.label[row] !== null && isWrong(row)) {
      prediction.append(" ");
      line(prediction, `not ${samples.classes[samples.label[row]]}`, "bad", "b");
    } else if (samples.label[row] === null) {
      prediction.append(" ");
      line(prediction, groups[samples.group[row]].name, "paper");
    }
    for (const [name, values] of Object.entries(samples.scores)) line(item, `${name} ${compared(values[row])}`, "paper");
    line(item, reasonOf(row), isAccepted(row) ? (isWrong(row) ? "bad" : "good") : "open");
    return item;
  }

  const part = samples.id.length < samples.of ? ` The page holds ${count(samples.id.length)} of ${count(samples.of)}: of ` +
    "each group the most and the least trusted, those nearest to the threshold, and random ones." : "";
  const browse = pages({ size: PAGE, rows: chosenRows, item: card, note: part });

  function refresh() {
    show();
    browse();
  }

  groups.forEach((group, index) => option(byId("browse-group"), index, group.name));
  for (const kind of new Set(samples.reason.filter(Boolean).map(([kind]) => kind))) option(byId("browse-verdict"), kind, kind);
  for (const name of Object.keys(samples.scores)) option(byId("browse-score"), name, name);
  byId("browse-score").value = data.score;

  let pending = 0;
  slider.addEventListener("input", () => {
    show();
    clearTimeout(pending);
    pending = setTimeout(browse, 100);
  });
  byId("reset").addEventListener("click", () => { slider.value = marked; refresh(); slider.focus(); });
  for (const radio of document.querySelectorAll("input[name=population]")) radio.addEventListener("change", show);

  const place = thresholds.length > 1 ? marked / (thresholds.length - 1) : 0;
  byId("threshold-mark").style.left = `calc(.5rem + (100% - 1rem) * ${place})`;
  byId("threshold-mark").classList.toggle("flipped", place > 0.6);

  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  refresh();
})();
