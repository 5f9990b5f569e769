import type { Store } from "../storage";

const KEY = "chatbox.staff.muted";
/** Two tones, Hz, and how long each sounds, s. */
const TONES = [660, 880];
const LENGTH = 0.18;
const LOUDNESS = 0.16;
/** Requests that come together ring once, ms. */
const REST = 2_000;

/** Rings when somebody asks for help. Browsers allow a sound only after the reader has touched the page. */
export class Bell {
  muted: boolean;
  private audio: AudioContext | null = null;
  private rungAt = -Infinity;

  constructor(
    private readonly page: Window,
    private readonly store: Store,
    private readonly changed: () => void,
    private readonly makeAudio: () => AudioContext = () => new AudioContext(),
  ) {
    this.muted = store.getItem(KEY) === "true";
    for (const gesture of ["pointerdown", "keydown"]) page.addEventListener(gesture, this.allow);
  }

  /** False until the browser lets the page make a sound. */
  get allowed(): boolean {
    return this.audio?.state === "running";
  }

  close(): void {
    this.forgetGestures();
    void this.audio?.close();
    this.audio = null;
  }

  toggle(): void {
    this.muted = !this.muted;
    if (this.muted) this.store.setItem(KEY, "true");
    else this.store.removeItem(KEY);
    this.changed();
  }

  ring(): void {
    const { audio } = this;
    if (this.muted || audio?.state !== "running" || Date.now() - this.rungAt < REST) return;
    this.rungAt = Date.now();
    for (const [index, tone] of TONES.entries()) play(audio, tone, audio.currentTime + index * LENGTH);
  }

  private readonly allow = (): void => {
    this.audio ??= this.makeAudio();
    void this.audio.resume().then(() => {
      if (!this.allowed) return;
      this.forgetGestures();
      this.changed();
    });
  };

  private forgetGestures(): void {
    for (const gesture of ["pointerdown", "keydown"]) this.page.removeEventListener(gesture, this.allow);
  }
}

function play(audio: AudioContext, tone: number, from: number): void {
  const [sound, loudness] = [audio.createOscillator(), audio.createGain()];
  sound.frequency.value = tone;
  loudness.gain.setValueAtTime(0, from);
  loudness.gain.linearRampToValueAtTime(LOUDNESS, from + 0.02);
  loudness.gain.exponentialRampToValueAtTime(0.001, from + LENGTH);
  sound.connect(loudness).connect(audio.destination);
  sound.start(from);
  sound.stop(from + LENGTH);
}
