// Opens a page in Chromium as readers would, and prints what they meet as JSON.
// node look.mjs CHROMIUM PAGE.html

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, path] = process.argv.slice(2);
const address = pathToFileURL(path).href;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const found = { console: [], requests: [], dialogs: [] };

// A page of its own kind of reader; everything that it says or asks for is written down.
async function opened(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => found.console.push(message.text()));
  page.on("pageerror", (error) => found.console.push(String(error)));
  page.on("dialog", (dialog) => { found.dialogs.push(dialog.message()); dialog.dismiss(); });
  await context.route("**/*", (route) => {
    if (route.request().url() === address) { return route.continue(); }
    found.requests.push(route.request().url());
    return route.abort();
  });
  await page.goto(address);
  return page;
}

async function accessible(page) {
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return {
    rules: result.passes.length,
    violations: result.violations.map((v) => ({ rule: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 300) + " " + n.failureSummary) })),
  };
}

// every picture that should be seen in this medium, and whether it has a size
const pictures = (page) => page.evaluate(() =>
  [...document.querySelectorAll("svg[role=img], [role=img] canvas, img, svg image")]
    .map((e) => {
      const box = e.getBoundingClientRect();
      const still = e.closest(".answers .picture") !== null, live = e.closest(".live") !== null;
      const complete = e.tagName !== "IMG" || (e.complete && e.naturalWidth > 0);
      return { label: e.getAttribute("aria-label") || e.tagName, width: box.width, height: box.height, still, live, complete };
    }));

// every column of every table up and down; the first one of each by pointer and keyboard
async function sorting(page) {
  const out = [];
  for (const table of await page.locator("table.sortable").all()) {
    const first = table.locator("thead button").first();
    await first.click();
    const up = await table.evaluate(columns, "first");
    await first.press("Enter");
    out.push({ up, down: await table.evaluate(columns, "first") });
    out.push(...await table.evaluate(columns, "others"));
  }
  return out;
}
function columns(table, which) {
  const shown = (head, j) => ({
    head: head.textContent, numeric: head.classList.contains("n"), sort: head.getAttribute("aria-sort"),
    cells: [...table.tBodies[0].rows].map((row) => row.cells[j].textContent),
  });
  const heads = [...table.tHead.rows[0].cells];
  if (which === "first") { return shown(heads[0], 0); }
  return heads.slice(1).map((head, j) => {
    const [up, down] = [1, 2].map(() => {
      head.querySelector("button").click();
      return shown(head, j + 1);
    });
    return { up, down };
  });
}

async function filtering(page) {
  const input = page.locator(".filter input").first();
  const table = page.locator("table.filtered").first();
  const rows = () => table.evaluate((t) => [...t.tBodies[0].rows].filter((r) => r.offsetHeight > 0).map((r) => r.textContent));
  const all = await rows();
  const word = (await table.locator("tbody tr").last().locator("th, td").first().textContent()).trim();
  await input.focus();
  await page.keyboard.type(word);
  const some = await rows();
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  return { word, all: all.length, some, again: (await rows()).length };
}

// details by keyboard, and whether what is inside shows
async function folding(page) {
  const out = [];
  for (const details of (await page.locator("details").all()).slice(0, 6)) {
    const inside = details.locator("pre");
    const before = await inside.isVisible();
    await details.locator("summary").press("Enter");
    out.push([before, await inside.isVisible()]);
  }
  return out;
}

// points along the middle of each chart until a tip shows; chooses by keyboard; clicks to keep
async function answering(page, box) {
  const names = await box.locator("select option").allTextContents();
  const over = box.locator(".u-over").first();
  await over.scrollIntoViewIfNeeded();
  const area = await over.boundingBox();
  let tip = null;
  for (let y = 5; y < area.height && tip === null; y += 12) {
    await page.mouse.move(area.x + area.width / 2, area.y + y);
    const shown = box.locator(".tip:visible").first();
    if (await shown.count()) { tip = await shown.innerText(); }
    if (tip !== null && tip.startsWith("mean\n")) { tip = null; } // not one of the lines
  }
  // how much is drawn: less when all but one stand back
  const drawn = (canvas) => canvas.evaluate((c) => {
    const copy = Object.assign(document.createElement("canvas"), { width: c.width, height: c.height });
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(c, 0, 0);
    const pixels = context.getImageData(0, 0, c.width, c.height).data;
    let sum = 0;
    for (let i = 3; i < pixels.length; i += 4) { sum += pixels[i]; }
    return sum;
  });
  const canvas = box.locator("canvas").first();
  await page.mouse.down();
  await page.mouse.up();
  const kept = await box.locator("select option:checked").textContent();
  await page.mouse.move(2, 2);
  await box.locator("select").focus();
  await page.keyboard.press("Home");
  await page.waitForTimeout(60);
  const all = await drawn(canvas);
  await page.keyboard.press("ArrowDown");
  await page.waitForTimeout(60);
  const one = await drawn(canvas);
  const said = await box.locator("output").innerText();
  const chosen = await box.locator("select option:checked").textContent();
  const markup = await box.locator(".tip *, option *").evaluateAll((all_) => all_.map((e) => e.tagName));
  return { names, tip, kept, chosen, said, ink: [all, one], markup: [...new Set(markup)] };
}

const light = await opened({ colorScheme: "light" });
found.title = await light.title();
found.pictures = await pictures(light);
found.sorting = await sorting(light);
found.filtering = await filtering(light);
found.folding = await folding(light);
found.answering = [];
for (const box of await light.locator(".live").all()) { found.answering.push(await answering(light, box)); }
found.text = await light.evaluate(() => document.body.innerText);
found.elements = await light.evaluate(() => [...new Set([...document.querySelectorAll("*")].map((e) => e.tagName.toLowerCase()))]);
found.axe = { light: await accessible(light) };
await light.setViewportSize({ width: 390, height: 800 });
// drawings follow the width when the browser has told them of it
await light.waitForFunction(() => document.documentElement.scrollWidth <= 390, null, { timeout: 10000 }).catch(() => {});
found.narrow = await light.evaluate(() => document.documentElement.scrollWidth);
await light.setViewportSize({ width: 794, height: 1123 }); // a sheet of A4
await light.emulateMedia({ media: "print" });
found.print = {
  pictures: await pictures(light),
  hidden: await light.locator("nav, .filter, .live, details.code").evaluateAll((all) => all.every((e) => e.offsetHeight === 0)),
  width: await light.evaluate(() => document.documentElement.scrollWidth),
  background: await light.evaluate(() => getComputedStyle(document.body).backgroundColor),
};

const dark = await opened({ colorScheme: "dark" });
found.dark = await dark.evaluate(() => {
  const style = getComputedStyle(document.body);
  return { paper: style.backgroundColor, ink: style.color };
});
await dark.setViewportSize({ width: 390, height: 800 }); // where pictures scroll
found.axe.dark = await accessible(dark);

const still = await opened({ javaScriptEnabled: false });
found.still = {
  pictures: await pictures(still),
  text: await still.evaluate(() => document.querySelector("main").innerText),
  controls: await still.locator("button, input, select").count(),
};

// a script that got into the page after all
const strange = await browser.newPage();
await strange.goto(address);
found.strange = await strange.evaluate(() => {
  const script = document.createElement("script");
  script.textContent = "document.title = 'taken over'";
  document.body.appendChild(script);
  return document.title;
});

await browser.close();
process.stdout.write(JSON.stringify(found));
