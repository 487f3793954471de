"use strict";
// Filters by sweep and operator, and opens the runs that a link points to.
// Without this script, the page shows everything.
{
  const form = document.getElementById("filters");
  const facets = ["sweeps", "operators"];
  const chosen = (facet) => [...form.querySelectorAll(`input[name=${facet}]:checked`)].map((box) => box.value);

  // A facet without a choice hides nothing. An element must pass both facets.
  const shows = (element, choices) =>
    facets.every((facet) => {
      const own = element.dataset[facet];
      return own === undefined || !choices[facet].length || own.split(" ").some((one) => choices[facet].includes(one));
    });

  const filter = () => {
    const choices = Object.fromEntries(facets.map((facet) => [facet, chosen(facet)]));
    for (const element of document.querySelectorAll("[data-sweeps], [data-operators]")) {
      element.hidden = !shows(element, choices);
    }
    document.body.classList.toggle("filtered", facets.some((facet) => choices[facet].length));
    const shown = (selector) => {
      const all = [...document.querySelectorAll(selector)];
      return `${all.filter((element) => !element.hidden).length} of ${all.length}`;
    };
    form.querySelector("[role=status]").textContent =
      `Shown: ${shown("section.sweep")} sweeps, ${shown(".group")} configurations.`;
  };

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.closest("[hidden]")) {
      form.reset();
      filter();
    }
    if (target.matches("details")) target.open = true;
    target.scrollIntoView();
  };

  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  // A second click on the same link does not change the hash.
  document.addEventListener("click", (event) => event.target.closest("a[href^='#']") && setTimeout(reveal));
  // Nobody can click on paper, so the evidence is printed open.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.evidence")) details.open = true;
  });

  form.hidden = false;
  form.querySelector("details").open = matchMedia("(min-width: 64rem)").matches;
  filter();
  reveal();
}
