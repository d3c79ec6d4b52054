// Elements from values. All text becomes text nodes: nothing that is shown is ever parsed as markup.

export function byId(id) {
  return document.getElementById(id);
}

// element('button', { type: 'button', onclick: f }, 'Copy'): functions become listeners, `style` an object of
// CSS properties, true and false whether an attribute is there.
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name.replace(/^on/, ''), value);
    else if (name === 'style') for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.filter(Boolean));
}

// An outcome's symbol in its colour.
export function outcomeMark(outcome, symbol) {
  return element('span', { class: 'mark', 'aria-hidden': 'true', style: { color: `var(--outcome-${outcome})` } }, symbol);
}

// Draws anew, and gives the focus back to what has the same data-key as what had it.
export function keepingFocus(draw) {
  const key = document.activeElement?.dataset?.key;
  draw();
  if (key && document.activeElement?.dataset?.key !== key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

export function announce(text) {
  byId('announcer').textContent = text;
}

// The clipboard needs a secure context, which a server on another host is not: there the old way must do.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element('textarea', { style: { position: 'fixed', opacity: '0' } });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

export function copyButton(label, text) {
  const button = element('button', { type: 'button', class: 'quiet' }, label);
  button.addEventListener('click', async () => {
    await copyText(text());
    button.textContent = 'Copied';
    announce('Copied');
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

// The colours of the theme in force, by the names of their CSS variables.
export function themeColours(names) {
  const probe = element('span', { hidden: true });
  document.body.append(probe);
  const colours = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colours;
}
