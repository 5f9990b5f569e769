import type { Colour } from "./colours";
import type { Reply, Request } from "./painter";

type Answered = (colours: Colour[] | null) => void;

/** Has code coloured by a worker, which is started when it is first needed. Where there is none, code has one colour. */
export class Highlighter {
  private worker: Worker | null = null;
  private readonly asked = new Map<number, Answered>();
  private last = 0;

  constructor(private readonly start: () => Worker) {}

  /** The colours of code; null when they are not known. */
  async colours(code: string, language: string): Promise<Colour[] | null> {
    try {
      this.worker ??= this.hire();
    } catch {
      return null;
    }
    const request: Request = { id: ++this.last, code, language };
    this.worker.postMessage(request);
    return new Promise((resolve) => this.asked.set(request.id, resolve));
  }

  private hire(): Worker {
    const worker = this.start();
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      this.asked.get(data.id)?.(data.colours);
      this.asked.delete(data.id);
    };
    worker.onerror = () => this.giveUp();
    return worker;
  }

  private giveUp(): void {
    for (const answer of this.asked.values()) answer(null);
    this.asked.clear();
  }
}

/** Code with its colours, as nodes. */
export function painted(code: string, colours: readonly Colour[]): Node[] {
  let at = 0;
  return colours.map(([classes, length]) => {
    const text: Node = document.createTextNode(code.slice(at, (at += length)));
    return classes.reduceRight((inner, name) => wrapped(inner, name), text);
  });
}

function wrapped(inner: Node, className: string): Node {
  const span = document.createElement("span");
  span.className = className;
  span.append(inner);
  return span;
}
