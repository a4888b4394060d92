// The manual page, dist/fairlock.1, made of what the commands say of themselves in their help.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tsImport } from 'tsx/esm/api';

const root = fileURLToPath(new URL('..', import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const { commands } = await tsImport('../src/cli/commands/index.ts', import.meta.url);
const program = commands(() => {}, version);

/** A line that begins with a dot or an apostrophe would be a request, a backslash an escape, a hyphen a soft one. */
const text = (words) =>
  words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/gm, '\\&');
const option = ({ flags, description }) => `.TP\n\\fB${text(flags)}\\fR\n${text(description)}`;
const asItIs = (lines) => `.PP\n.nf\n${text(lines.trim())}\n.fi`;

function textAfterHelp(command) {
  let after = '';
  const write = (more) => {
    after += more;
  };
  command.emit('afterHelp', { error: false, command, write });
  return after;
}

function section(command) {
  const help = command.createHelp();
  const options = help.visibleOptions(command).map(option);
  const usage = help.commandUsage(command).replaceAll('       fairlock', 'fairlock');
  return [
    `.SS ${text(`fairlock ${command.name()}`)}`,
    asItIs(usage).replace('.PP\n', ''),
    `.PP\n${text(help.commandDescription(command))}`,
    ...options,
    ...(textAfterHelp(command).trim() === '' ? [] : [asItIs(textAfterHelp(command))]),
  ];
}

const page = [
  `.TH FAIRLOCK 1 "" "fairlock ${version}"`,
  '.SH NAME',
  'fairlock \\- locks between processes, for scripts',
  '.SH SYNOPSIS',
  '.B fairlock run\n[\\fIOPTION\\fR...] \\fIFILE\\fR \\fB\\-\\-\\fR \\fICOMMAND\\fR [\\fIARG\\fR...]\n.br',
  '.B fairlock\n\\fICOMMAND\\fR [\\fIARG\\fR...]',
  '.SH DESCRIPTION',
  text('A lock belongs to the process that has it: where it ends, however it ends, the kernel releases the lock.'),
  text('Locks exclude those of flock(1) on the same file.'),
  '.SH COMMANDS',
  ...program
    .createHelp()
    .visibleCommands(program)
    .filter((one) => one.name() !== 'help')
    .flatMap(section),
  '.SH SEE ALSO',
  '.BR flock (1),\n.BR flock (2),\n.BR fcntl (2)',
];
writeFileSync(join(root, 'dist', 'fairlock.1'), `${page.join('\n')}\n`);
