/* What is wrong with the page before the eye: each function returns lines, none where all is well. */
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const short = (text) => text.trim().replace(/\s+/g, " ").slice(0, 60);
const named = (element) => {
  const id = element.id ? `#${element.id}` : "";
  const kind = [...element.classList].map((one) => `.${one}`).join("");
  return `<${element.localName}${id}${kind}> "${short(element.textContent)}"`;
};
const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
const box = (element) => element.getBoundingClientRect();

/* Tells of each thing once: a page has thousands of elements, one in another. */
const once = (tell) => {
  const told = new Map();
  return (thing) => {
    if (!told.has(thing)) told.set(thing, tell(thing));
    return told.get(thing);
  };
};

/* Any CSS colour as red, green, blue (0..255) and alpha (0..1): the browser's own canvas reads it. */
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = once((colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
});
const over = (top, below, opacity = 1) => {
  const alpha = top[3] * opacity;
  return [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha)).concat(1);
};
/* WCAG 2.2: relative luminance and contrast ratio. */
const luminance = (colour) => {
  const [red, green, blue] = colour.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const contrast = (one, other) => {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
};

const SHAPES = "rect, circle, ellipse, path, polygon";
const speaks = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
const texts = (svg) => all("text, tspan", svg).filter((text) => speaks(text) && shown(text));
const prose = () =>
  all("body *").filter((one) => !one.closest("svg, script, style") && speaks(one) && shown(one));
const drawings = () => all("svg").filter(shown);
const inside = (shape, x, y) => {
  const point = new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse());
  return shape.isPointInFill(point);
};
const opacity = once((one) => (one ? getComputedStyle(one).opacity * opacity(one.parentElement) : 1));
const filled = (shape) => {
  const style = getComputedStyle(shape);
  return shown(shape) && style.fill !== "none" && !shape.closest("defs, marker, pattern, clipPath, mask");
};
/* Shapes painted under a text's middle, lowest first. */
const under = (text, svg) => {
  const { x, y, width, height } = box(text);
  return all(SHAPES, svg).filter(
    (shape) =>
      filled(shape) &&
      shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING &&
      inside(shape, x + width / 2, y + height / 2),
  );
};
const ground = once((one) =>
  one ? over(rgba(getComputedStyle(one).backgroundColor), ground(one.parentElement)) : rgba("Canvas"),
);

const words = (wanted) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = new Set();
  while (walker.nextNode()) {
    const { parentElement, data } = walker.currentNode;
    if (parentElement.closest("script, style, title, desc, nav, form, button, .skip")) continue;
    if (wanted(parentElement)) for (const word of data.split(/\s+/)) if (word) found.add(word);
  }
  return [...found];
};
const usable = () =>
  all("summary, button, a[href], input, select").filter((one) => shown(one) && !one.disabled);

const findings = {
  overflowing() {
    const root = document.documentElement;
    const found = [];
    if (root.clientWidth !== screen.width && matchMedia("(pointer: coarse)").matches)
      found.push(`laid out ${root.clientWidth} px wide on a screen of ${screen.width}: no viewport meta?`);
    if (root.scrollWidth <= root.clientWidth) return found;
    const wide = all("body *").filter(
      (one) => shown(one) && box(one).right + scrollX > root.clientWidth + 0.5,
    );
    const scrolled = (one) => {
      for (let up = one.parentElement; up; up = up.parentElement)
        if (up !== document.body && up !== root && getComputedStyle(up).overflowX !== "visible") return true;
      return false;
    };
    const standing = wide.filter((one) => !scrolled(one));
    const guilty = standing
      .filter((one) => !standing.some((other) => other !== one && one.contains(other)))
      .map(named);
    return [...found, `${root.scrollWidth} px wide in ${root.clientWidth}: ${guilty.join(", ")}`];
  },

  /* Of words on the page, as axe does but at once, and of those in a picture, whose ground axe can't tell. */
  faint() {
    const drawn = drawings().flatMap((svg) =>
      texts(svg).map((text) => [
        text,
        getComputedStyle(text).fill,
        under(text, svg).reduce(
          (below, shape) => over(rgba(getComputedStyle(shape).fill), below, opacity(shape)),
          ground(svg),
        ),
      ]),
    );
    const written = prose().map((one) => [one, getComputedStyle(one).color, ground(one)]);
    return [...drawn, ...written].flatMap(([one, ink, ground]) => {
      const ratio = contrast(over(rgba(ink), ground, opacity(one)), ground);
      const { fontSize, fontWeight } = getComputedStyle(one);
      const size = parseFloat(fontSize);
      const least = size >= 24 || (size >= 18.66 && fontWeight >= 700) ? 3 : 4.5; // WCAG 2.2, 1.4.3
      return ratio < least ? [`${named(one)}: contrast ${ratio.toFixed(2)}, not ${least}`] : [];
    });
  },

  small() {
    const SMALLEST = 10; // CSS px
    const drawn = drawings()
      .flatMap(texts)
      .map((text) => {
        const matrix = text.getScreenCTM();
        return [text, parseFloat(getComputedStyle(text).fontSize) * Math.hypot(matrix.a, matrix.b)];
      });
    const written = prose().map((one) => [one, parseFloat(getComputedStyle(one).fontSize)]);
    return [...drawn, ...written]
      .filter(([, size]) => size < SMALLEST - 0.01)
      .map(([one, size]) => `${named(one)}: ${size.toFixed(1)} px high`);
  },

  /* Texts of a picture that lie on each other. */
  crowded() {
    return drawings().flatMap((svg) => {
      const placed = texts(svg).map((text) => [text, box(text)]);
      return placed.flatMap(([one, a], at) =>
        placed.slice(at + 1).flatMap(([other, b]) => {
          if (one.contains(other)) return [];
          const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          // Lines of one block: the boxes of their letters may touch, the letters don't.
          return across > 1 && down > Math.min(a.height, b.height) / 3
            ? [`${named(one)} on ${named(other)}`]
            : [];
        }),
      );
    });
  },

  /* Texts that stick out of the picture, or of the shape that they stand on. */
  spilling() {
    const out = (a, b) =>
      a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
    return drawings().flatMap((svg) =>
      texts(svg).flatMap((text) => {
        const shape = under(text, svg).at(-1);
        if (out(box(text), box(svg))) return [`${named(text)} is cut by the picture's edge`];
        return shape && out(box(text), box(shape)) ? [`${named(text)} sticks out of ${named(shape)}`] : [];
      }),
    );
  },

  /* Opens each section as a click does; says which stay shut or are empty, or lie under something. */
  opening() {
    const found = [];
    const stuck = new Set();
    const next = () => all("details:not([open])").find((one) => !stuck.has(one));
    for (let details; (details = next());) {
      const summary = details.querySelector(":scope > summary");
      summary?.click();
      if (!details.open) {
        stuck.add(details);
        found.push(`${named(summary ?? details)} does not open`);
      }
    }
    for (const details of all("details[open]")) {
      const summary = details.querySelector(":scope > summary");
      const rest = [...details.children].filter((one) => one !== summary);
      if (!rest.some((one) => shown(one) && (one.innerText ?? one.textContent).trim()))
        found.push(`${named(summary ?? details)} opens on nothing`);
      if (!summary || !shown(summary)) continue;
      summary.scrollIntoView({ block: "center", behavior: "instant" });
      const { left, top, height } = box(summary);
      const hit = document.elementFromPoint(left + 8, top + height / 2);
      if (!hit || !details.contains(hit))
        found.push(`${named(summary)} lies under ${hit ? named(hit) : "nothing"}`);
    }
    return found;
  },

  /* References that a browser may follow without being asked to, seen as a request or not. */
  reaching() {
    const links =
      "link[href], script[src], img[src], iframe[src], object[data], embed[src], source[src], video[src]";
    const address = (one) => one.getAttribute("href") ?? one.getAttribute("src") ?? one.getAttribute("data");
    const used = all("use[href], image[href]").filter((one) => !address(one).startsWith("#"));
    return [...all(links), ...used]
      .filter((one) => !address(one).startsWith("data:"))
      .map((one) => `${named(one)} names ${address(one)}`);
  },

  doubled() {
    const ids = all("[id]").map((one) => one.id);
    return ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `#${id} is there twice`);
  },

  moving() {
    const timed = (style) => [style.transitionDuration, style.animationDuration].join().split(",");
    const slow = all("*").filter((one) =>
      timed(getComputedStyle(one)).some((time) => parseFloat(time) > 0.01),
    );
    const smooth = all("*").filter((one) => getComputedStyle(one).scrollBehavior === "smooth");
    return [
      ...slow.map((one) => `${named(one)} moves`),
      ...smooth.map((one) => `${named(one)} scrolls smoothly`),
    ];
  },

  /* What a mouse can use and the keyboard must reach: `watchFocus`, then Tab, Tab, then `unreached`. */
  watchFocus() {
    window.focused = new Map();
    addEventListener("focusin", ({ target }) => {
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(target);
      const ring = (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none";
      window.focused.set(target, ring);
    });
    document.activeElement?.blur();
  },
  unreached() {
    const unseen = [...window.focused]
      .filter(([, ring]) => !ring)
      .map(([one]) => `${named(one)} shows no focus`);
    return [
      ...usable()
        .filter((one) => !window.focused.has(one))
        .map((one) => `${named(one)} is not reached`),
      ...unseen,
    ];
  },

  /* Where no script runs: what looks as if it could be used. */
  dead() {
    return usable()
      .filter((one) => one.matches("button, input, select"))
      .map((one) => `${named(one)} does nothing`);
  },

  /* After a jump to the address's anchor. */
  arrived() {
    const anchor = decodeURIComponent(location.hash.slice(1));
    const target = document.getElementById(anchor);
    if (!target) return [`there is no #${anchor}`];
    if (!shown(target) || target.closest("details:not([open])")) return [`#${anchor} stays shut`];
    const heading = target.closest("details")?.querySelector("summary") ?? target;
    const { left, top, height } = box(heading);
    const bottom =
      document.scrollingElement.scrollTop + innerHeight >= document.scrollingElement.scrollHeight - 1;
    if (top < -1 || (top > innerHeight / 2 && !bottom))
      return [`#${anchor} is ${top.toFixed()} px down the window`];
    const hit = document.elementFromPoint(left + 8, top + Math.min(height / 2, 8));
    return hit && (heading.contains(hit) || hit.contains(heading))
      ? []
      : [`#${anchor} lies under ${hit && named(hit)}`];
  },

  /* On paper nobody scrolls. */
  clipped() {
    return all("body *")
      .filter((one) => shown(one) && !one.closest("svg") && getComputedStyle(one).overflowX !== "visible")
      .filter((one) => one.scrollWidth > one.clientWidth + 1)
      .map((one) => `${named(one)}: ${one.scrollWidth} px in ${one.clientWidth}`);
  },

  /* Every word of the page, but of what is only there to be used; then those that are in sight. */
  words() {
    return words(() => true);
  },
  readable() {
    return words(shown);
  },
};
