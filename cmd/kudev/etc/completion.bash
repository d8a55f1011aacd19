# Completion for kudev in bash: its commands, and the flags that a command's --help prints.
_kudev() {
	local word=${COMP_WORDS[COMP_CWORD]} n=1 list=help
	case $COMP_CWORD,${COMP_WORDS[1]} in
	1,*) ;;
	*,udevadm) n=2 list='udevadm help' ;;
	2,help) n=2 ;;
	esac
	if [ "$COMP_CWORD" = "$n" ]; then
		COMPREPLY=($(compgen -W "$(kudev $list 2>/dev/null | sed -n 's/^  \([a-z-]*\)  .*/\1/p')" -- "$word"))
	elif [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$(kudev "${COMP_WORDS[@]:1:n}" --help 2>/dev/null | grep -o -- '^[[:space:]]*-[^ ]*.*  ' | grep -o -- '--[a-z-]*')" -- "$word"))
	fi
}
complete -o default -F _kudev kudev
