# Completion for kudev in bash: its commands, and the flags that a command's --help prints.
_kudev() {
	local word=${COMP_WORDS[COMP_CWORD]}
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "$(kudev help 2>/dev/null | sed -n 's/^  \([a-z-]*\)  .*/\1/p')" -- "$word"))
	elif [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$(kudev "${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -- '^[[:space:]]*-[^ ]*.*  ' | grep -o -- '--[a-z-]*')" -- "$word"))
	fi
}
complete -o default -F _kudev kudev
