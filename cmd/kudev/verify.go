package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/rules"
)

// runVerify checks rules files as udevadm verify does, and says the same. With --strict it looks closer. Exit status 1 means that a
// file has a problem.
func runVerify(_ context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("verify", pflag.ContinueOnError)
	names := flags.StringP("resolve-names", "N", "early", "look up users and groups `WHEN`: early, late or never")
	root := flags.String("root", "", "check the rules directories below `PATH`")
	noSummary := flags.Bool("no-summary", false, "do not count at the end")
	noStyle := flags.Bool("no-style", false, "a matter of style is no failure")
	strict := flags.Bool("strict", false, "also find programs that are not there, and lines that can never match or are never reached")
	paths, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	switch *names {
	case "help":
		fmt.Fprint(e.stdout, "early\nlate\nnever\n")
		return nil
	case "early", "late", "never":
	default:
		return misuse(`--resolve-names takes "early", "late" or "never"`)
	}
	if *root != "" && len(paths) > 0 {
		return misuse("--root and files do not go together")
	}
	at := e.options.SystemRoot
	if *root != "" {
		at = *root
	}
	v := verifier{e: e, noStyle: *noStyle}
	v.options.Strict = *strict
	v.options.Program = func(command string) bool { return isProgram(at, command) }
	if *names == "early" {
		v.options.Users = rules.ReadUsers(filepath.Join(at, "/etc/passwd"), filepath.Join(at, "/etc/group"))
	}
	if len(paths) > 0 {
		for _, path := range paths {
			v.path(path)
		}
	} else {
		var dirs []string
		for _, dir := range rules.StandardDirs() {
			dirs = append(dirs, filepath.Join(at, dir))
		}
		if v.sources(rules.Dirs(dirs...)) == 0 && *root != "" {
			return fmt.Errorf("no rules files found in %s", *root)
		}
	}
	if !*noSummary {
		fmt.Fprintf(e.stdout, "\n%d udev rules files have been checked.\n  Success: %d\n  Fail:    %d\n", v.good+v.bad, v.good, v.bad)
	}
	if v.bad > 0 || v.failed {
		return exitStatus(1)
	}
	return nil
}

type verifier struct {
	e         *env
	options   rules.CheckOptions
	noStyle   bool
	good, bad int  // files
	failed    bool // something that is no file
}

// path checks a file, or the rules files in a directory.
func (v *verifier) path(path string) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		v.unreadable(path, err)
	case st.IsDir():
		v.sources(rules.Dirs(path))
	case st.Mode()&fs.ModeDevice != 0:
		v.good++ // /dev/null, which hides a file
	case !st.Mode().IsRegular():
		v.unreadable(path, errors.New("it is no regular file"))
	default:
		text, err := os.ReadFile(path)
		if err != nil {
			v.unreadable(path, err)
			return
		}
		v.text(path, text)
	}
}

// sources checks the files that count in directories, and returns how many there are.
func (v *verifier) sources(sources []rules.Source) int {
	files, problems := rules.Files(sources)
	for _, p := range problems {
		fmt.Fprintln(v.e.stderr, p.Error())
		v.failed = true
	}
	for _, f := range files {
		text, err := f.Read()
		if err != nil {
			v.unreadable(f.Path, err)
			continue
		}
		v.text(f.Path, text)
	}
	return len(files)
}

func (v *verifier) unreadable(path string, err error) {
	v.bad++
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	text := err.Error()
	fmt.Fprintf(v.e.stderr, "Failed to parse rules file %s: %s%s\n", path, strings.ToUpper(text[:1]), text[1:])
}

// text checks one file.
func (v *verifier) text(path string, text []byte) {
	_, problems := rules.CheckFile(path, text, v.options)
	worst := rules.Style
	for _, p := range problems {
		switch {
		case p.Udev == rules.LineTooLong:
			fmt.Fprintf(v.e.stderr, "Failed to parse rules file %s: %s\n", path, p.Udev)
			v.bad++
			return
		case p.Udev != "":
			fmt.Fprintf(v.e.stderr, "%s:%d %s\n", path, p.Rule, p.Udev)
		default:
			fmt.Fprintln(v.e.stderr, p.Error())
		}
		worst = max(worst, p.Severity)
	}
	switch {
	case worst > rules.Style:
		fmt.Fprintf(v.e.stderr, "%s: udev rules check failed.\n", path)
		v.bad++
	case len(problems) > 0 && !v.noStyle:
		fmt.Fprintf(v.e.stderr, "%s: udev rules have style issues.\n", path)
		v.bad++
	default:
		v.good++
	}
}

// answered are the programs of udev's that kudev stands in for where they are not installed.
var answered = []string{"ata_id", "cdrom_id", "dmi_memory_id", "fido_id", "mtd_probe", "scsi_id", "v4l_id"}

// isProgram says whether the program that a command line begins with is there, below root. A name without a slash is one of
// udev's own.
func isProgram(root, command string) bool {
	name := strings.TrimSpace(command)
	if name != "" && (name[0] == '"' || name[0] == '\'') {
		name, _, _ = strings.Cut(name[1:], name[:1])
	} else if i := strings.IndexAny(name, " \t\n"); i >= 0 {
		name = name[:i]
	}
	places := []string{name}
	if !strings.HasPrefix(name, "/") {
		if slices.Contains(answered, name) {
			return true
		}
		places = []string{"/usr/lib/udev/" + name, "/lib/udev/" + name}
	}
	for _, place := range places {
		if st, err := os.Stat(filepath.Join(root, place)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}
