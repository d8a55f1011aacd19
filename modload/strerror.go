package modload

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrnoText is an errno's text as strerror(3) has it, which kmod's messages end with: Go's with a capital letter.
func ErrnoText(errno unix.Errno) string {
	text := errno.Error()
	switch errno { // where the two differ in more than that
	case unix.ENOEXEC:
		return "Exec format error"
	case unix.ENOMEM:
		return "Cannot allocate memory"
	case unix.ENODEV:
		return "No such device"
	}
	if text != "" && text[0] >= 'a' && text[0] <= 'z' {
		text = string(text[0]-'a'+'A') + text[1:]
	}
	return text
}

// strerror is an error's cause in those words, for a message that has named the file.
func strerror(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return ErrnoText(errno)
	}
	return cause(err).Error()
}
