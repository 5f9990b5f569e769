import { coloursOf, type Colour } from "./colours";

/** What the page asks for, and what it gets. */
export interface Request {
  id: number;
  code: string;
  language: string;
}

export interface Reply {
  id: number;
  colours: Colour[] | null;
}

// The thread of its own in which code is coloured: a long piece takes longer than the page may be kept busy.
addEventListener("message", ({ data }: MessageEvent<Request>) => {
  const reply: Reply = { id: data.id, colours: coloursOf(data.code, data.language) };
  postMessage(reply);
});
