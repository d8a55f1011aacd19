package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/modload"
)

// applet is what kmod's programs have in common: their messages, "modprobe: ERROR: could not …", and their log.
type applet struct {
	*env
	level  modload.Level // messages below are not said
	syslog bool          // to syslog(3) rather than stderr
}

// The levels of kmod's messages that modload has no name for.
const (
	levelFatal = modload.LevelError + 4
	levelMute  = modload.LevelError + 100 // above everything
)

func (a *applet) say(level modload.Level, format string, args ...any) {
	if level < a.level {
		return
	}
	name := "DEBUG"
	switch {
	case level >= levelFatal:
		name = "FATAL"
	case level >= modload.LevelError:
		name = "ERROR"
	case level >= modload.LevelWarn:
		name = "WARNING"
	case level >= modload.LevelNotice:
		name = "NOTICE"
	case level >= modload.LevelInfo:
		name = "INFO"
	}
	text := fmt.Sprintf(format, args...)
	if a.syslog && toSyslog(a.name, level, name+": "+text) == nil {
		return
	}
	fmt.Fprintf(a.stderr, "%s: %s: %s\n", a.name, name, text)
}

func (a *applet) errorf(format string, args ...any) { a.say(modload.LevelError, format, args...) }

// appletLogger is a log whose messages are the program's.
type appletLogger struct{ *applet }

func (a *applet) logger() modload.Logger { return appletLogger{a} }

func (l appletLogger) Debug(text string, args ...any) { l.record(modload.LevelDebug, text, args) }
func (l appletLogger) Info(text string, args ...any)  { l.record(modload.LevelInfo, text, args) }
func (l appletLogger) Warn(text string, args ...any)  { l.record(modload.LevelWarn, text, args) }
func (l appletLogger) Error(text string, args ...any) { l.record(modload.LevelError, text, args) }

func (l appletLogger) record(level modload.Level, text string, args []any) {
	l.say(level, "%s%s", text, log.Attributes(args))
}

// toSyslog sends one message to /dev/log. See syslog(3).
func toSyslog(ident string, level modload.Level, text string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const daemon = 3 << 3
	message := fmt.Sprintf("<%d>%s %s: %s", daemon|log.Syslog(level), time.Now().Format(time.Stamp), ident, text)
	return unix.Sendto(fd, []byte(message), 0, &unix.SockaddrUnix{Name: "/dev/log"})
}

// getopt is getopt for a program of kmod's: a wrong option is said and ends it with 1.
func (a *applet) getopt(options []getoptOption, args []string) ([]getoptResult, []string, error) {
	found, rest, err := getopt(options, args, false)
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: %v\n", a.name, err)
		return nil, nil, exitStatus(1)
	}
	return found, rest, nil
}

// help prints a program's usage and options; each option is its names, a tab, and what it does.
func (a *applet) help(usage []string, options ...string) error {
	fmt.Fprintln(a.stdout, "Usage:")
	for _, u := range usage {
		fmt.Fprintf(a.stdout, "\t%s %s\n", a.name, u)
	}
	fmt.Fprintln(a.stdout, "Options:")
	for _, o := range options {
		names, text, _ := strings.Cut(o, "\t")
		fmt.Fprintf(a.stdout, "\t%-26s  %s\n", names, text)
	}
	return nil
}

// kmodVersion is what the programs of kmod's print for -V: scripts look for the second line.
func (a *applet) kmodVersion() error {
	_, err := fmt.Fprintf(a.stdout, "kudev version %s, as kmod 30\n+ZSTD +XZ +ZLIB +LIBCRYPTO -EXPERIMENTAL\n", version)
	return err
}

// strerror is an error's cause in the words of strerror(3), which kmod's messages end with.
func strerror(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return modload.ErrnoText(errno)
	}
	return err.Error()
}

// absolute is a path made absolute as kmod does it: by putting the working directory in front.
func absolute(path string) (string, error) {
	if strings.HasPrefix(path, "/") {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return dir + "/" + path, nil
}

// treeOptions are kudev's own options of a program that reads a tree, beside those of kmod's.
func treeOptions() []getoptOption {
	return []getoptOption{
		{id: "module-root", long: "module-root", value: true},
		{id: "own-release", long: "release", value: true},
	}
}

// treeHelp is the line of a program's help about them.
const treeHelp = "--module-root=DIR, --release=VERSION\tthe tree, as kudev's own commands take it"

// treeChoice is the tree that a program was told to use. kmod's names for the options differ from one to the next.
type treeChoice struct {
	rootFlag, releaseFlag string // "-d", "-S"
	root, release         string // as given to them
	flags                 []modload.Flag
}

// take notes an option when it is about the tree.
func (t *treeChoice) take(f getoptResult) {
	switch f.id {
	case "root":
		t.root = f.value
	case "release":
		t.release = f.value
	case "module-root":
		t.flags = append(t.flags, modload.Flag{Setting: "module_root", Value: f.value, Name: "--module-root"})
	case "own-release":
		t.flags = append(t.flags, modload.Flag{Setting: "release", Value: f.value, Name: "--release"})
	}
}

// options are the configuration's sources with that tree.
func (t *treeChoice) options(e *env) modload.Options {
	options := e.options
	options.Flags = append(slices.Clip(options.Flags), t.flags...)
	if t.root != "" {
		options.Flags = append(options.Flags, modload.Flag{Setting: "module_root", Value: t.root, Name: t.rootFlag})
	}
	if t.release != "" {
		options.Flags = append(options.Flags, modload.Flag{Setting: "release", Value: t.release, Name: t.releaseFlag})
	}
	return options
}
