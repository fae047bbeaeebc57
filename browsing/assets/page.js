// Adds a button to each command that copies it. Pages are complete without.
for (const row of document.querySelectorAll("[data-copy]")) {
  const text = row.querySelector("code");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  const say = (word) => { button.textContent = word; };
  button.setAttribute("aria-label", "Copy: " + text.textContent);
  say("Copy");
  button.addEventListener("click", async () => {
    try {
      if (navigator.clipboard) {
        await navigator.clipboard.writeText(text.textContent);
      } else { // Browsers keep the clipboard from pages that came by plain HTTP.
        getSelection().selectAllChildren(text);
        if (!document.execCommand("copy")) throw new Error("not copied");
      }
      say("Copied");
    } catch {
      getSelection().selectAllChildren(text);
      say("Selected");
    }
    status.textContent = button.textContent;
    setTimeout(() => say("Copy"), 2000);
  });
  row.append(button);
}
const status = document.createElement("p");
status.className = "hidden";
status.setAttribute("role", "status");
document.querySelector("main").append(status);
