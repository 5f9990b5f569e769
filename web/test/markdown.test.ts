import { marked } from "marked";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Blocks } from "../src/markdown/blocks";
import { dialect } from "../src/markdown/dialect";
import { coloursOf } from "../src/markdown/colours";
import { Highlighter, painted } from "../src/markdown/highlight";
import type { Reply, Request } from "../src/markdown/painter";
import { sanitize } from "../src/markdown/sanitize";
import { Slices } from "../src/markdown/slices";
import { Writer } from "../src/markdown/writer";

const ours = dialect((alt, host) => `Image: ${alt} (${host})`);
const words = { image: (alt: string, host: string) => `Image: ${alt} (${host})`, copy: "Copy", code: "Code" };

const SAMPLE = `# Title

Some **bold** and *slanted* text
over two lines.

1. one
2. two
   - inner

> quoted

| a | b |
|---|---|
| 1 | 2 |

\`\`\`python
def f(x):
    return x

print(f(1))
\`\`\`

The end.`;

function render(pieces: string[]): HTMLElement {
  const target = document.createElement("div");
  const jobs: (() => void)[] = [];
  const highlighter = { colours: () => Promise.resolve(null) };
  const writer = new Writer(target, new Slices((run) => jobs.push(run)), highlighter, words);
  let text = "";
  for (const [index, piece] of pieces.entries()) {
    text += piece;
    writer.write(text, index === pieces.length - 1);
    while (jobs.length > 0) jobs.shift()!();
  }
  return target;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("blocks", () => {
  test("any way of cutting the text gives the same page", () => {
    const whole = render([SAMPLE]).innerHTML;
    for (let at = 1; at < SAMPLE.length; at += 7) expect(render([SAMPLE.slice(0, at), SAMPLE.slice(at)]).innerHTML).toBe(whole);
    expect(render([...SAMPLE]).innerHTML).toBe(whole);
  });

  test("finished blocks are not touched again", () => {
    const blocks = new Blocks(ours);
    expect(blocks.push("one\n\ntwo").finished).toEqual(["<p>one</p>\n"]);
    expect(blocks.push(" more").finished).toEqual([]);
    expect(blocks.push("\n\nthree").finished).toEqual(["<p>two more</p>\n"]);
  });

  test.each([
    ["paragraph", "word ".repeat(40_000)],
    ["list", "- item\n".repeat(20_000)],
    ["numbered list", Array.from({ length: 20_000 }, (_, n) => `${n + 1}. item\n`).join("")],
    ["code", "```js\n" + "call(1);\n".repeat(20_000)],
    ["table", "| a | b |\n|---|---|\n" + "| 1 | 2 |\n".repeat(10_000)],
    ["quotation", "> words\n".repeat(20_000)],
    ["no break at all", "x".repeat(100_000)],
  ])("the work of one step does not grow with the answer: %s", (_, text) => {
    const blocks = new Blocks(ours);
    let longest = 0;
    for (let at = 0; at < text.length; at += 2_000) longest = Math.max(longest, blocks.push(text.slice(at, at + 2_000)).rest.length);
    expect(longest).toBeLessThan(80_000);
  });

  test("a list that was cut goes on counting", () => {
    const text = Array.from({ length: 2_000 }, (_, n) => `${n + 1}. item\n`).join("");
    const target = render([text.slice(0, 9_000), text.slice(9_000)]);
    const lists = [...target.querySelectorAll("ol")];
    expect(lists.length).toBeGreaterThan(1);
    expect(target.querySelectorAll("li")).toHaveLength(2_000);
    let next = 1;
    for (const list of lists) {
      expect(list.start).toBe(next);
      next += list.children.length;
    }
  });

  test("long numbers have room", () => {
    const list = (first: number): HTMLElement => render([`${first}. a\n${first + 1}. b\n`]).querySelector("ol")!;
    expect(list(98).style.paddingInlineStart).toBe("");
    expect(list(99).style.paddingInlineStart).toContain("3ch");
    expect(list(12_345).style.paddingInlineStart).toContain("5ch");
  });

  test("code that was cut is one block in the end, to the letter", () => {
    const code = Array.from({ length: 6_000 }, (_, n) => `line ${n}`).join("\n");
    const target = render([..."```\n" + code + "\n```\n\nafter"].join("").match(/[^]{1,1500}/g)!);
    expect(target.querySelectorAll("pre")).toHaveLength(1);
    expect(target.querySelector("code")?.textContent).toBe(`${code}\n`);
    expect(target.lastElementChild?.textContent).toBe("after");
  });

  test("the reference rendering has the same words", () => {
    const reference = document.createElement("div");
    reference.innerHTML = marked.parse(SAMPLE, { async: false });
    const strip = (text: string | null): string => (text ?? "").replaceAll(/\s+/g, "");
    const mine = render([...SAMPLE]);
    for (const head of mine.querySelectorAll(".code-head")) head.remove();
    expect(strip(mine.textContent)).toBe(strip(reference.textContent));
  });
});

describe("safety", () => {
  test.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "[x](data:text/html,hi)",
    "<svg/onload=alert(1)>",
    "<a href=https://a.example onclick=alert(1)>x</a>",
    "[x](https://a.example/\"onclick=\"alert(1))",
    '![a"onerror="alert(1)](https://a.example/b)',
    "```\"><img src=x onerror=alert(1)>\n```",
    "<style>*{}</style>",
    "<math><mi//xlink:href=data:x>",
  ])("%s is inert", (attack) => {
    for (const target of [render([attack]), render([...attack])]) {
      expect(target.querySelector("script,img,svg,style,iframe,math,input")).toBeNull();
      for (const element of target.querySelectorAll("*"))
        for (const { name, value } of element.attributes) {
          expect(name).not.toMatch(/^on/);
          if (name === "href") expect(value).toMatch(/^https:/);
        }
    }
  });

  test("an image is a link that tells nothing", () => {
    const link = render(["![a cat](https://evil.example/cat.png)"]).querySelector("a")!;
    expect(link.textContent).toBe("Image: a cat (evil.example)");
    expect([link.target, link.rel]).toEqual(["_blank", "noopener noreferrer nofollow"]);
  });

  test("HTML that gets past Markdown is still sanitised", () => {
    const nodes = sanitize('<p style="x" id="y" data-z="1" onclick="a()">t<object></object></p>');
    expect(nodes.firstElementChild?.outerHTML).toBe("<p>t</p>");
  });
});

test("code in a known language is coloured without changing it", () => {
  const code = "const a = `<b> ${1 & 2} \"'`; // 🙂 &amp; <i>\n";
  const box = document.createElement("code");
  box.append(...painted(code, coloursOf(code, "ts")!));
  expect(box.textContent).toBe(code);
  expect(box.querySelector(".hljs-keyword")?.textContent).toBe("const");
  expect(box.querySelector(".hljs-string .hljs-number")?.textContent).toBe("1");
  expect(coloursOf("x", "nonsense")).toBeNull();
});

/** Stands where the worker would; it answers in the other order. */
class FakeWorker {
  onmessage: ((event: { data: Reply }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly asked: Request[] = [];

  postMessage(request: Request): void {
    this.asked.unshift(request);
  }

  answer(): void {
    for (const { id, code, language } of this.asked) this.onmessage?.({ data: { id, colours: coloursOf(code, language) } });
  }
}

test("one worker colours all code, whatever the order of its answers", async () => {
  const workers: FakeWorker[] = [];
  const highlighter = new Highlighter(() => workers[workers.push(new FakeWorker()) - 1] as unknown as Worker);
  const [first, second] = [highlighter.colours("if", "python"), highlighter.colours("9", "python")];
  workers[0]!.answer();
  expect(await first).toEqual([[["hljs-keyword"], 2]]);
  expect(await second).toEqual([[["hljs-number"], 1]]);
  expect(workers).toHaveLength(1);
});

test("where no worker can be had, or it breaks, code keeps one colour", async () => {
  const none = new Highlighter(() => {
    throw new DOMException("not allowed", "SecurityError");
  });
  expect(await none.colours("if", "python")).toBeNull();
  const worker = new FakeWorker();
  const asked = new Highlighter(() => worker as unknown as Worker).colours("if", "python");
  worker.onerror?.();
  expect(await asked).toBeNull();
});

test("code is coloured once it is complete", async () => {
  const target = document.createElement("div");
  const answers: (() => void)[] = [];
  const highlighter = {
    colours: (code: string, language: string) =>
      new Promise<ReturnType<typeof coloursOf>>((resolve) => answers.push(() => resolve(coloursOf(code, language)))),
  };
  const writer = new Writer(target, new Slices((run) => run()), highlighter, words);
  writer.write("```py\nif 1:\n```", false);
  expect(answers).toHaveLength(0);
  writer.write("```py\nif 1:\n```\n\nend", true);
  expect(answers).toHaveLength(1);
  const code = target.querySelector("code")!;
  answers[0]!();
  await vi.advanceTimersByTimeAsync(0);
  expect(code.querySelector(".hljs-keyword")?.textContent).toBe("if");
  expect(code.textContent).toBe("if 1:\n");
});

test("of a long list only what is in sight has to be laid out", () => {
  const big = (text: string): number => render([text]).querySelectorAll(".big").length;
  expect(big("- item\n".repeat(30))).toBe(0);
  expect(big("- item\n".repeat(60))).toBe(1);
  expect(big("- item\n".repeat(6_000) + "\nend")).toBeGreaterThan(20);
});

test("long works take turns and leave time between", () => {
  let clock = 0;
  const runs: (() => void)[] = [];
  const order: string[] = [];
  const slices = new Slices((run) => runs.push(run), () => clock);
  const work = (name: string, steps: number) => () => {
    order.push(name);
    clock += 6;
    return --steps > 0;
  };
  slices.add(work("a", 3));
  slices.add(work("b", 2));
  expect(runs).toHaveLength(1);
  while (runs.length > 0) runs.shift()!();
  expect(order).toEqual(["a", "b", "a", "b", "a"]);
});
