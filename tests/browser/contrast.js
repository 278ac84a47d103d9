// The texts of the page whose contrast with what is behind them is below WCAG's 4.5, with that contrast.
const rgb = (color) => color.match(/[\d.]+/g).map(Number);
const light = (color) => {
  const [red, green, blue] = rgb(color).map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const behind = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return rgb(color)[3] === 0 ? behind(element.parentElement) : color;
};
const found = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest("noscript, datalist")) continue;
  const style = getComputedStyle(element);
  const [dark, bright] = [light(element.closest("svg") ? style.fill : style.color), light(behind(element))].sort((a, b) => a - b);
  const contrast = (bright + 0.05) / (dark + 0.05);
  if (contrast < 4.5) found.push([texts.currentNode.data, contrast]);
}
return found;
