/** Colours that people who see few colours tell apart too (Okabe and Ito), for the locks that were waited for most. */

const LIGHT = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#b8a900'];
const DARK = ['#4aa3df', '#f0b429', '#2fc79a', '#e39cc4', '#8fd3f7', '#f07c3a', '#f0e442'];
const OTHERS = { light: '#767676', dark: '#a0a0a0' };

export interface Theme {
  readonly text: string;
  readonly muted: string;
  readonly line: string;
  readonly background: string;
  readonly selection: string;
  /** @param rank of the lock, by its total wait */
  colour(rank: number): string;
}

export function themeOf(isDark: boolean): Theme {
  const [colours, others] = isDark ? [DARK, OTHERS.dark] : [LIGHT, OTHERS.light];
  const colour = (rank: number): string => colours[rank] ?? others;
  return isDark
    ? { text: '#e6e6e6', muted: '#a8a8a8', line: '#3a3f45', background: '#16191d', selection: '#ffffff', colour }
    : { text: '#1b1f24', muted: '#5a6370', line: '#dfe3e8', background: '#ffffff', selection: '#000000', colour };
}
