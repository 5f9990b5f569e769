import "./ui/app";

// A link with a token may be opened in a tab that shows the page already. The browser loads nothing then.
addEventListener("hashchange", () => {
  if (new URLSearchParams(location.hash.slice(1)).has("token")) location.reload();
});
