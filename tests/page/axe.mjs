// Opens pages in headless Chromium, in light and dark, on a phone and on a desk, and asks axe-core.
// node axe.mjs FOLDER_OF_NODE_MODULES CHROMIUM PAGE...; prints what was found as JSON.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, executablePath, ...pages] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// Words of one drawing that stand on each other; a pixel is what the box of a letter has around it.
const overlaps = () =>
  [...document.querySelectorAll("svg")].flatMap((drawing) => {
    const words = [...drawing.querySelectorAll("text")].map((t) => [t.textContent, t.getBBox()]);
    return words.flatMap(([one, a], n) =>
      words.slice(n + 1).filter(([, b]) =>
        a.x + a.width > b.x + 1 && b.x + b.width > a.x + 1 &&
        a.y + a.height > b.y + 4 && b.y + b.height > a.y + 4
      ).map(([other]) => `${one} | ${other}`));
  });

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const found = [];
for (const page of pages) {
  const tab = await browser.newPage();
  const asked = [], errors = [];
  tab.on("request", (request) => request.url().startsWith("data:") || asked.push(request.url()));
  tab.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await tab.goto(pathToFileURL(page).href);
  await tab.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
  await tab.evaluate(axe);
  for (const colorScheme of ["light", "dark"])
    for (const width of [375, 1280]) {
      await tab.emulateMedia({ colorScheme });
      await tab.setViewportSize({ width, height: 900 });
      const result = await tab.evaluate(() => axe.run());
      found.push({
        page, colorScheme, width, errors, asked: asked.length,
        wide: await tab.evaluate(() => document.documentElement.scrollWidth),
        paper: await tab.evaluate(() => getComputedStyle(document.body).backgroundColor),
        passes: result.passes.map((rule) => rule.id),
        overlaps: await tab.evaluate(overlaps),
        violations: result.violations.map((rule) => `${rule.id}: ${rule.nodes[0].html}`),
      });
    }
  await tab.close();
}
await browser.close();
console.log(JSON.stringify(found));
