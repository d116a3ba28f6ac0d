// Warnings are errors: a listener that is never taken away, for one, makes Node warn.

process.on("warning", (warning) => {
  throw warning;
});
