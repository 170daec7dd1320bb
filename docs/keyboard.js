// A table that is wider than the page scrolls in a box of its own: let the keyboard reach that.
document$.subscribe(() => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) {
    box.tabIndex = 0;
  }
});
