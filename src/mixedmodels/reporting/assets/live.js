/* Pictures that answer: lines of subjects, intervals of levels. The still picture stays for print. */
(function () {
  "use strict";
  const root = document.documentElement;
  const colour = (name, otherwise) =>
    getComputedStyle(root).getPropertyValue(name).trim() || otherwise;
  const ink = () => colour("--ink", "#000");
  const soft = () => colour("--soft", "#555");
  // the page's own name of a colour, which in the dark is a lighter one
  const isGrey = (hex) => hex.slice(1, 3) === hex.slice(3, 5) && hex.slice(3, 5) === hex.slice(5);
  const tint = (hex) =>
    colour((isGrey(hex) ? "--g" + hex.slice(1, 3) : "--c" + hex.slice(1)).toLowerCase(), hex);
  const figures = (value) => String(Number(value.toPrecision(4))).replace("-", "\u2212");

  function element(kind, parent, name) {
    const made = document.createElement(kind);
    if (name) { made.className = name; }
    if (parent) { parent.appendChild(made); }
    return made;
  }
  function named(parent, text) { element("bdi", parent).textContent = text; }

  const day = (seconds) =>
    new Date(seconds * 1000).toISOString().replace(/T00:00.*|:\d\d\..*/, "").replace("T", " ");

  // the place on the axis that has a value and is nearest
  function nearest(values, from) {
    for (let step = 0; step < values.length; step++) {
      if (values[from - step] != null) { return from - step; }
      if (values[from + step] != null) { return from + step; }
    }
    return from;
  }
  function range(panels, keys) {
    const all = panels.flatMap((p) => keys(p)).flat().filter((v) => v != null);
    const low = all.reduce((a, b) => Math.min(a, b), Infinity);
    const high = all.reduce((a, b) => Math.max(a, b), -Infinity);
    const room = (high - low || Math.abs(high) || 1) * 0.05;
    return [low - room, high + room];
  }
  function axes(x, y, labels) {
    const look = {
      stroke: soft, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      labelSize: 18, labelGap: 2,
      grid: { stroke: () => colour("--line", "#ddd"), width: 1 },
      ticks: { stroke: () => colour("--line", "#ddd"), width: 1, size: 4 },
    };
    const minus = (u, splits) => splits.map((v) => String(v).replace("-", "\u2212"));
    return [
      Object.assign(x ? { label: x, size: 32 } : {}, look, labels),
      Object.assign({ label: y, size: 52, values: minus }, look),
    ];
  }

  // one chart in its box, as wide as that, with a box of text that follows the pointer
  function chart(parent, head, spoken, height, options, data) {
    const box = element("div", parent, "panel");
    if (head) { named(element("p", box, "panel-title"), head); }
    const holder = element("div", box);
    holder.setAttribute("role", "img");
    holder.setAttribute("aria-label", spoken);
    const size = () => ({ width: Math.max(holder.clientWidth, 160), height: height });
    const made = new uPlot(Object.assign(size(), { legend: { show: false } }, options), data, holder);
    const tip = element("div", made.over, "tip");
    tip.hidden = true;
    new ResizeObserver(() => {
      if (holder.clientWidth && holder.clientWidth !== made.width) { made.setSize(size()); }
    }).observe(holder);
    return {
      plot: made,
      hide: () => { tip.hidden = true; },
      say: (left, top, name, lines) => {
        tip.textContent = "";
        named(element("strong", tip), name);
        lines.forEach((line) => named(element("div", tip), line));
        tip.hidden = false;
        const room = made.over.clientWidth - tip.offsetWidth;
        tip.style.left = Math.max(0, Math.min(left + 12, room)) + "px";
        tip.style.top = Math.max(0, top - tip.offsetHeight - 10) + "px";
      },
    };
  }

  // a list to choose from, for keyboards and ears: it keeps one shown, and says its values
  function chooser(parent, what, names, choose) {
    const bar = element("div", parent, "chooser");
    const label = element("label", bar);
    named(label, "Show one " + what + " ");
    const list = element("select", label);
    list.add(new Option("all", ""));
    names.forEach((name, i) => list.add(new Option(name, String(i))));
    const output = element("output", bar);
    list.addEventListener("change", () => {
      const said = choose(list.value === "" ? null : Number(list.value));
      output.textContent = "";
      if (said) { named(output, said); }
    });
    return (i) => { list.value = String(i); list.dispatchEvent(new Event("change")); };
  }

  function lines(box, data, spoken) {
    const row = element("div", box, "panels");
    const place = (i) => data.ticks ? data.ticks[data.at[i]]
      : data.scale === "dates" ? day(data.at[i]) : String(data.at[i]);
    const limits = range(data.panels, (p) => p.lines.map((line) => line[2]).concat([p.mean[1]]));
    const all = data.panels.flatMap((p, k) => p.lines.map((line, i) => ({ k: k, i: i + 1, line: line })));
    let pinned = null, over = null;
    let charts = [];
    const isLine = (one) => one && one.i <= data.panels[one.k].lines.length; // else the mean
    const shown = () => isLine(over) ? over : pinned;
    const spread = (points, values) => {
      const out = new Array(data.at.length).fill(null);
      points.forEach((at, i) => { out[at] = values[i]; });
      return out;
    };
    const redraw = () => charts.forEach((c, k) => {
      const one = shown();
      c.plot.series.forEach((s, i) => {
        if (i > 0 && i < c.plot.series.length - 1) { s.width = one && one.k === k && one.i === i ? 2.6 : 1; }
      });
      c.plot.redraw(false);
    });
    const few = data.scale === "numbers" && data.at.length < 9;
    const labels = data.ticks
      ? { values: (u, splits) => splits.map((v) => data.ticks[v] || ""), incrs: [1, 2, 5, 10, 20, 50] }
      : data.scale === "dates" && data.at.every((t) => t % 86400 === 0)
        ? { values: "{YYYY}-{MM}-{DD}", space: 90 }
        : few ? { splits: () => data.at } : {};
    charts = data.panels.map((p, k) => {
      const alpha = Math.min(0.9, Math.max(0.25, 5 / Math.sqrt(p.lines.length || 1)));
      const stroke = (u, i) => {
        const one = shown();
        const shade = !one ? alpha : one.k === k && one.i === i ? 1 : 0.1;
        return tint(p.color) + Math.round(shade * 255).toString(16).padStart(2, "0");
      };
      const values = p.lines.map((line) => spread(line[1], line[2]));
      const series = [{}].concat(
        values.map(() => ({ stroke: stroke, width: 1, spanGaps: true, points: { show: data.at.length < 3 } })),
        { stroke: ink, width: 2.6, spanGaps: true, points: { show: true, size: 5, fill: ink } });
      const found = (u) => {
        const one = over && over.k === k ? over.i : null;
        const at = one === null ? null : u.cursor.idxs[one];
        if (at == null) { charts[k].hide(); return; }
        const y = u.data[one][at];
        const name = isLine(over) ? p.lines[one - 1][0] : "mean";
        charts[k].say(u.valToPos(data.at[at], "x"), u.valToPos(y, "y"), name,
          [data.x + ": " + place(at), data.y + ": " + figures(y)]);
      };
      const options = {
        axes: axes(data.x, data.y, labels), series: series,
        scales: { x: { time: data.scale === "dates" }, y: { range: limits } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        focus: { alpha: 1 },
        cursor: {
          y: false, focus: { prox: 24 }, points: { size: 7 },
          dataIdx: (u, i, from) => i > 0 ? nearest(u.data[i], from) : from,
        },
        hooks: {
          setCursor: [(u) => { if (charts[k]) { found(u); } }],
          setSeries: [(u, i, change) => {
            if (!("focus" in change) || !charts[k]) { return; }
            over = i > 0 && change.focus ? { k: k, i: i } : null;
            redraw();
            found(u);
          }],
        },
      };
      const made = chart(row, p.name, spoken + (p.name ? " " + p.name : ""), 300, options,
        [data.at].concat(values, [spread(p.mean[0], p.mean[1])]));
      made.plot.over.addEventListener("click", () => {
        if (isLine(over)) { pin(all.findIndex((a) => a.k === over.k && a.i === over.i)); } else { pin(""); }
      });
      return made;
    });
    const several = data.panels.length > 1;
    const pin = chooser(box, data.what, all.map((a) => a.line[0] + (several ? " (" + data.panels[a.k].name + ")" : "")), (i) => {
      pinned = i === null ? null : all[i];
      redraw();
      if (!pinned) { return ""; }
      const line = pinned.line;
      const said = line[1].slice(0, 40).map((at, j) => place(at) + ": " + figures(line[2][j]));
      return data.y + " by " + data.x + ": " + said.join("; ") + (line[1].length > 40 ? "; …" : "");
    });
    return charts;
  }

  function intervals(box, data, spoken) {
    const row = element("div", box, "panels wide-panels");
    const at = data.names.map((name, i) => i);
    let pinned = null, over = null;
    let charts = [];
    const text = (p, i) => figures(p.estimate[i]) + " (" + figures(p.conf_low[i]) + " to " + figures(p.conf_high[i]) + ")";
    const redraw = () => charts.forEach((c, k) => {
      const one = over === null ? pinned : over;
      c.plot.redraw(false);
      if (one === null) { c.hide(); return; }
      const p = data.panels[k];
      c.say(c.plot.valToPos(one, "x"), c.plot.valToPos(p.conf_high[one], "y"), data.names[one], [text(p, one)]);
    });
    const draw = (u, p) => {
      const one = over === null ? pinned : over;
      const g = u.ctx, scale = devicePixelRatio || 1;
      const zero = u.valToPos(0, "y", true);
      g.save();
      g.beginPath();
      g.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      g.clip();
      g.lineWidth = scale;
      g.strokeStyle = soft();
      g.beginPath();
      g.moveTo(u.bbox.left, zero);
      g.lineTo(u.bbox.left + u.bbox.width, zero);
      g.stroke();
      at.forEach((i) => {
        const x = u.valToPos(i, "x", true);
        g.globalAlpha = one === null || one === i ? 1 : 0.35;
        g.strokeStyle = g.fillStyle = tint(p.colors[i]);
        g.lineWidth = (one === i ? 3 : 1.4) * scale;
        g.beginPath();
        g.moveTo(x, u.valToPos(p.conf_low[i], "y", true));
        g.lineTo(x, u.valToPos(p.conf_high[i], "y", true));
        g.stroke();
        g.beginPath();
        g.arc(x, u.valToPos(p.estimate[i], "y", true), (one === i ? 4.5 : 2.6) * scale, 0, 2 * Math.PI);
        g.fill();
      });
      g.restore();
    };
    const short = (name) => name.length > 12 ? name.slice(0, 11) + "…" : name;
    const labels = {
      values: (u, splits) => splits.map((v) => data.names[v] === undefined ? "" : short(data.names[v])),
      incrs: [1, 2, 5, 10, 20, 50, 100], space: 14, rotate: -90, size: 84,
    };
    charts = data.panels.map((p) => {
      const options = {
        axes: axes("", p.name, labels),
        scales: {
          x: { time: false, range: (u, low, high) => [low - 0.6, high + 0.6] },
          y: { range: range([p], (q) => [q.conf_low, q.conf_high, [0]]) },
        },
        series: [{}, { paths: () => null, points: { show: false } }],
        cursor: { x: false, y: false, points: { show: false } },
        hooks: {
          draw: [(u) => draw(u, p)],
          setCursor: [(u) => {
            const now = u.cursor.left >= 0 ? u.cursor.idx : null;
            if (now !== over) { over = now; redraw(); }
          }],
        },
      };
      const made = chart(row, "", spoken + " " + p.name, 340, options, [at, p.estimate]);
      made.plot.over.addEventListener("click", () => { if (over !== null) { pin(over); } });
      return made;
    });
    const pin = chooser(box, data.what, data.names, (i) => {
      pinned = i;
      redraw();
      return i === null ? "" : data.panels.map((p) => p.name + " " + text(p, i)).join("; ");
    });
    return charts;
  }

  function start(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const figure = box.closest("figure");
    const still = figure.querySelector(".picture svg");
    box.hidden = false;
    const make = data.kind === "lines" ? lines : intervals;
    const charts = make(box, data, "Interactive: " + still.getAttribute("aria-label"));
    element("p", box, "hint").textContent =
      "Point at one to see its values, click to keep it, drag to zoom in, double-click to zoom out.";
    figure.classList.add("answers");
    matchMedia("(prefers-color-scheme:dark)").addEventListener("change", () => {
      charts.forEach((c) => c.plot.redraw(false));
    });
  }
  document.querySelectorAll(".live").forEach(start);
})();
