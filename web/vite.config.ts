import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/chatbox/pages",
    emptyOutDir: true,
    target: "es2022",
    // The polyfill and inlined assets would need a looser Content-Security-Policy.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  test: { environment: "jsdom", include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
