/** `fairlock completion SHELL`: a script for the shell, made of what the commands have registered. */
import { Argument, type Command, type Option } from 'commander';
import { printLines } from '../output.js';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .summary('print a script that completes commands and options in a shell')
    .description('Print a script for SHELL that completes the commands, options and files of fairlock.')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      `
Examples:
  fairlock completion bash > ~/.local/share/bash-completion/completions/fairlock
  fairlock completion zsh > "\${fpath[1]}/_fairlock"
  fairlock completion fish > ~/.config/fish/completions/fairlock.fish`,
    )
    .action((shell: Shell) => printLines(completion(shell, program)));
}

export function completion(shell: Shell, program: Command): string {
  // Without those that are not shown in help, and `help` itself.
  const commands = program
    .createHelp()
    .visibleCommands(program)
    .filter((command) => command.name() !== 'help');
  return { bash, zsh, fish }[shell](commands);
}

function optionsOf(command: Command): Option[] {
  return command.createHelp().visibleOptions(command);
}

function flagsOf({ short, long }: Option): string[] {
  return [short, long].filter((flag) => flag !== undefined);
}

/** Whether a command follows its options and, of `run`, a file. */
function runsCommand(command: Command): boolean {
  return command.registeredArguments.at(-1)?.name() === 'command';
}

/** In single quotes, as all three shells read them. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function bash(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const flags = optionsOf(command).flatMap(flagsOf);
    return `    ${command.name()}) words=${quoted(flags.join(' '))} ;;`;
  });
  const values = commands.flatMap((command) =>
    optionsOf(command).flatMap((option) =>
      flagsOf(option).flatMap((flag) =>
        option.argChoices === undefined
          ? []
          : `    '${command.name()} ${flag}') choices=${quoted(option.argChoices.join(' '))} ;;`,
      ),
    ),
  );
  const running = commands.filter(runsCommand).map((command) => command.name());
  return `# bash completion for fairlock
_fairlock() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]}
  local words='' choices='' word
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W ${quoted(commands.map((command) => command.name()).join(' '))} -- "$cur"))
    return
  fi
  for word in "\${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
    [ "$word" = -- ] || continue
    case $command in ${running.join('|')}) [ "$prev" = -- ] && COMPREPLY=($(compgen -c -- "$cur")) ;; esac
    return
  done
  case $command in
${cases.join('\n')}
  esac
  case "$command $prev" in
${values.join('\n')}
    'completion completion') choices='${SHELLS.join(' ')}' ;;
  esac
  if [ -n "$choices" ]; then COMPREPLY=($(compgen -W "$choices" -- "$cur"))
  elif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}
complete -o default -F _fairlock fairlock
`;
}

function zsh(commands: readonly Command[]): string {
  /** What `_arguments` takes: brackets and colons have a meaning there. */
  const text = (description: string): string => description.replace(/[[\]:\\]/g, '\\$&');
  const spec = (option: Option): string => {
    const flags = flagsOf(option);
    const files = ['out', 'watch'].includes(option.attributeName()) ? '_files' : ' ';
    const choices = option.argChoices === undefined ? files : `(${option.argChoices.join(' ')})`;
    const value = option.required ? `:${option.attributeName()}:${choices}` : '';
    const rest = quoted(`[${text(option.description)}]${value}`);
    return flags.length === 1 ? `${flags[0]}${rest}` : `${quoted(`(${flags.join(' ')})`)}{${flags.join(',')}}${rest}`;
  };
  const last = (command: Command): string => {
    if (command.name() === 'completion') return `':shell:(${SHELLS.join(' ')})'`;
    if (command.name() === 'run') return `':file:_files' '*::command: _normal'`;
    return runsCommand(command) ? `'*::command: _normal'` : `'*:file:_files'`;
  };
  const cases = commands.map(
    (command) => `    ${command.name()})
      _arguments -s -S \\
${optionsOf(command)
  .map((option) => `        ${spec(option)} \\`)
  .join('\n')}
        ${last(command)} ;;`,
  );
  return `#compdef fairlock
# zsh completion for fairlock
_fairlock() {
  local -a commands
  commands=(
${commands.map((command) => `    ${quoted(`${command.name()}:${command.summary()}`)}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _fairlock ]; then _fairlock "$@"; else compdef _fairlock fairlock; fi
`;
}

function fish(commands: readonly Command[]): string {
  const names = commands.map((command) => command.name()).join(' ');
  const isFirst = quoted(`not __fish_seen_subcommand_from ${names}`);
  const lines = commands.map(
    (command) => `complete -c fairlock -f -n ${isFirst} -a ${command.name()} -d ${quoted(command.summary())}`,
  );
  for (const command of commands) {
    const isIts = quoted(`__fish_seen_subcommand_from ${command.name()}`);
    for (const option of optionsOf(command)) {
      const { short, long, argChoices, required, description } = option;
      const parts = [
        ...(short === undefined ? [] : ['-s', short.slice(1)]),
        ...(long === undefined ? [] : ['-l', long.slice(2)]),
        ...(argChoices !== undefined ? ['-x', '-a', quoted(argChoices.join(' '))] : required ? ['-r'] : []),
      ];
      lines.push(`complete -c fairlock -n ${isIts} ${parts.join(' ')} -d ${quoted(description)}`);
    }
  }
  lines.push(`complete -c fairlock -f -n '__fish_seen_subcommand_from completion' -a ${quoted(SHELLS.join(' '))}`);
  return `# fish completion for fairlock\n${lines.join('\n')}\n`;
}
