/** Tables that are sorted by a click on a head, and in which a row can be chosen. */

export interface Column<T> {
  head: string;
  /** What it is sorted by. */
  value(row: T): number | string;
  text?(row: T): string;
  /** Shown while a pointer is over it. */
  title?(row: T): string;
}

export function table<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  { caption, choose, mark }: { caption: string; choose?(row: T): void; mark?(row: T): HTMLElement },
): HTMLElement {
  const body = document.createElement('tbody');
  let sorted = { column: -1, descending: true };
  const fill = (): void => {
    const column = columns[sorted.column];
    const order = column === undefined ? rows : [...rows].sort(by(column, sorted.descending));
    body.replaceChildren(...order.map((row) => line(row, columns, choose, mark)));
  };
  const heads = columns.map(({ head }, i) => {
    const button = element('button', head);
    const cell = document.createElement('th');
    cell.scope = 'col';
    cell.append(button);
    button.addEventListener('click', () => {
      sorted = { column: i, descending: sorted.column === i ? !sorted.descending : true };
      for (const [j, other] of heads.entries())
        other.ariaSort = j === i ? (sorted.descending ? 'descending' : 'ascending') : null;
      fill();
    });
    return cell;
  });
  const whole = document.createElement('table');
  whole.ariaLabel = caption;
  whole.append(wrapped('thead', wrapped('tr', ...heads)), body);
  fill();
  const scroll = wrapped('div', whole);
  scroll.className = 'scroll';
  const head = element('p', caption);
  head.className = 'note';
  return wrapped('section', head, scroll);
}

function by<T>({ value }: Column<T>, descending: boolean): (a: T, b: T) => number {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const [left, right] = [value(a), value(b)];
    return sign * (typeof left === 'number' ? left - (right as number) : left.localeCompare(right as string));
  };
}

function line<T>(
  row: T,
  columns: readonly Column<T>[],
  choose: ((row: T) => void) | undefined,
  mark: ((row: T) => HTMLElement) | undefined,
): HTMLElement {
  const cells = columns.map(({ value, text, title }, i) => {
    const cell = element('td', text?.(row) ?? String(value(row)));
    if (typeof value(row) === 'number') cell.className = 'number';
    if (title !== undefined) cell.title = title(row);
    if (i === 0 && mark !== undefined) cell.prepend(mark(row));
    return cell;
  });
  const whole = wrapped('tr', ...cells);
  if (choose !== undefined) {
    whole.tabIndex = 0;
    whole.addEventListener('click', () => choose(row));
    whole.addEventListener('keydown', ({ key }) => {
      if (key === 'Enter') choose(row);
    });
  }
  return whole;
}

export function element(name: string, text: string): HTMLElement {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

export function wrapped(name: string, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}
