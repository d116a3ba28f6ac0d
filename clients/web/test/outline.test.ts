import { expect, test } from "vitest";

import { areaOf, outline } from "../src/outline.js";
import type { Point, Stroke } from "../src/strokes.js";

const WHOLE = { left: 0, top: 0, right: 280, bottom: 280 };

function stroke(...places: (readonly [number, number, number?])[]): Stroke {
  const points = places.map(([x, y, thickness = 1]): Point => ({ x, y, thickness }));
  return { points, width: 20, erases: false };
}

/** The discs that a path is made of: x, y and radius of each arc. Every arc has to turn the same way round. */
function arcsOf(drawn: Stroke, area = WHOLE, ...range: number[]): number[][] {
  const arcs: number[][] = [];
  const path = {
    moveTo() {},
    closePath() {},
    arc(x: number, y: number, radius: number, from: number, to: number, isBackward = false) {
      expect(isBackward).toBe(false);
      expect(to).toBeGreaterThan(from);
      arcs.push([x, y, radius]);
    },
  };
  outline(path as unknown as CanvasPath, drawn, area, ...range);
  return arcs;
}

test("a point is a disc, and stays one while the pen does not move", () => {
  expect(arcsOf(stroke([30, 40]))).toEqual([[30, 40, 10]]);
  expect(new Set(arcsOf(stroke([30, 40], [30, 40])).map(String))).toEqual(new Set(["30,40,10"]));
});

test("a line goes from its first point to its last, however it was sampled", () => {
  for (const middles of [[], [[100, 40]], [[50, 40], [51, 40], [120, 40]]] as [number, number][][]) {
    const xs = arcsOf(stroke([30, 40], ...middles, [150, 40])).map(([x]) => x!);
    expect([Math.min(...xs), Math.max(...xs)]).toEqual([30, 150]);
  }
});

test("no piece of a curve is far from it", () => {
  const [start, corner, end] = [[65, 10], [120, 10], [120, 65]] as const;
  const arcs = arcsOf(stroke([10, 10], corner, [120, 120]));
  const curve = Array.from({ length: 1001 }, (_, i) => {
    const [share, rest] = [i / 1000, 1 - i / 1000];
    const mix = (axis: 0 | 1) => rest * rest * start[axis] + 2 * share * rest * corner[axis] + share * share * end[axis];
    return [mix(0), mix(1)] as const;
  });
  const ends = arcs.map(([x, y]) => [x!, y!] as const);
  for (let i = 1; i < ends.length; i += 1) {
    const centre = [(ends[i]![0] + ends[i - 1]![0]) / 2, (ends[i]![1] + ends[i - 1]![1]) / 2] as const;
    if (centre[0] < start[0] || centre[1] > end[1]) continue; // the straight ends
    expect(Math.min(...curve.map(([x, y]) => Math.hypot(x - centre[0], y - centre[1])))).toBeLessThan(0.1);
  }
  expect(arcs.length).toBeGreaterThan(20);
});

test("a pen that presses harder draws thicker, and a disc inside another is no piece of its own", () => {
  const radii = arcsOf(stroke([10, 10, 0.5], [60, 10, 1.5])).map(([, , radius]) => radius!);
  expect([Math.min(...radii), Math.max(...radii)]).toEqual([5, 15]);
  expect(arcsOf(stroke([10, 10, 0.5], [11, 10, 1.5])).every(([, , radius]) => Number.isFinite(radius))).toBe(true);
});

test("only what touches the area is taken", () => {
  const long = stroke(...Array.from({ length: 200 }, (_, i) => [i, 40] as const));
  const corner = { left: 150, top: 0, right: 160, bottom: 280 };
  const xs = arcsOf(long, corner).map(([x]) => x!);
  expect(Math.min(...xs)).toBeGreaterThan(135);
  expect(Math.max(...xs)).toBeLessThan(175);
  expect(arcsOf(long, { left: 0, top: 51, right: 280, bottom: 280 })).toEqual([]);
});

test("two parts of a stroke are the whole", () => {
  const drawn = stroke([10, 10], [50, 20], [90, 90], [20, 200]);
  expect([...arcsOf(drawn, WHOLE, 0, 2), ...arcsOf(drawn, WHOLE, 2)]).toEqual(arcsOf(drawn));
});

test("the area of a stroke's end holds its ink", () => {
  const drawn = stroke([10, 10], [50, 20, 2], [90, 30]);
  expect(areaOf(drawn)).toEqual({ left: 0, top: 0, right: 100, bottom: 40 });
  expect(areaOf(drawn, 2)).toEqual({ left: 80, top: 20, right: 100, bottom: 40 });
  expect(areaOf(drawn, -1)).toEqual(areaOf(drawn));
});
