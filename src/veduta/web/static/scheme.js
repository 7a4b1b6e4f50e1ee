// Runs before the first paint, so that a chosen color scheme does not flash.
try {
  const scheme = JSON.parse(localStorage.getItem("veduta.settings") || "{}").scheme;
  if (scheme === "light" || scheme === "dark") document.documentElement.dataset.scheme = scheme;
} catch {
  // a browser that keeps nothing follows the system
}
