package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

func modinfoOptions() []getoptOption {
	return append([]getoptOption{
		{id: "author", short: 'a', long: "author"},
		{id: "description", short: 'd', long: "description"},
		{id: "license", short: 'l', long: "license"},
		{id: "parm", short: 'p', long: "parameters"},
		{id: "filename", short: 'n', long: "filename"},
		{id: "null", short: '0', long: "null"},
		{id: "modname", short: 'm', long: "modname"},
		{id: "field", short: 'F', long: "field", value: true},
		{id: "release", short: 'k', long: "set-version", value: true},
		{id: "root", short: 'b', long: "basedir", value: true},
		{id: "version", short: 'V', long: "version"},
		{id: "help", short: 'h', long: "help"},
	}, treeOptions()...)
}

// runModinfo shows what modules say of themselves. See modinfo(8).
func runModinfo(ctx context.Context, e *env, args []string) error {
	a := &applet{env: e, level: modload.LevelWarn}
	found, rest, err := a.getopt(modinfoOptions(), args)
	if err != nil {
		return err
	}
	m := modinfo{applet: a, separator: '\n'}
	byName := false
	tree := treeChoice{rootFlag: "-b", releaseFlag: "-k"}
	for _, f := range found {
		switch f.id {
		case "author", "description", "license", "parm", "filename":
			m.field = f.id
		case "field":
			m.field = f.value
		case "null":
			m.separator = 0
		case "modname":
			byName = true
		case "version":
			return a.kmodVersion()
		case "help":
			return a.modinfoHelp()
		default:
			tree.take(f)
		}
	}
	if len(rest) == 0 {
		a.errorf("missing module or filename.")
		return exitStatus(1)
	}
	cfg, err := e.resolveOptions(tree.options(e))
	if err != nil {
		return err
	}
	m.index, err = modload.OpenDir(cfg.WantedTree())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.errorf("%v", err)
	}
	m.out = bufio.NewWriter(e.stdout)
	defer m.out.Flush()
	failed := false
	for _, name := range rest {
		ok := true
		switch {
		case byName:
			ok = m.byName(name)
		case isModuleFile(name):
			path, err := absolute(name)
			if err != nil {
				return err
			}
			ok = m.show(modload.ModuleName(path), path)
		default:
			ok = m.byAlias(name)
		}
		failed = failed || !ok
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

type modinfo struct {
	*applet
	index     *modload.Index
	out       *bufio.Writer
	field     string // show this one only
	separator byte
}

func isModuleFile(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode().IsRegular() && modload.IsModuleFile(name)
}

func (m *modinfo) byName(name string) bool {
	e, ok := m.index.Lookup(modload.ModuleName(name))
	if !ok {
		m.errorf("Module name %s not found.", name)
		return false
	}
	return m.show(e.Name, e.Path)
}

func (m *modinfo) byAlias(alias string) bool {
	ok, some := true, false
	for match := range m.index.Match(alias) {
		some = true
		e, _ := m.index.Lookup(match.Module)
		ok = m.show(match.Module, e.Path) && ok
	}
	if !some {
		m.errorf("Module %s not found.", alias)
		return false
	}
	return ok
}

// show prints one module; an empty path is one that is built in.
func (m *modinfo) show(name, path string) bool {
	builtin := path == ""
	if builtin {
		path = "(builtin)"
		switch m.field {
		case "":
			fmt.Fprintf(m.out, "%-16s%s%c", "name:", name, m.separator)
		case "name":
			fmt.Fprintf(m.out, "%s%c", name, m.separator)
		}
	}
	switch m.field {
	case "filename":
		fmt.Fprintf(m.out, "%s%c", path, m.separator)
		return true
	case "":
		fmt.Fprintf(m.out, "%-16s%s%c", "filename:", path, m.separator)
	}
	info, signature, err := m.read(name, path, builtin)
	if err != nil {
		if builtin && errors.Is(err, fs.ErrNotExist) {
			return true // kernels before 5.2 say nothing of their built-in modules
		}
		m.out.Flush()
		text := strerror(err)
		if errors.Is(err, modload.ErrNoInfo) {
			text = strerror(unix.ENOSYS)
		}
		m.errorf("could not get modinfo from '%s': %s", name, text)
		return false
	}
	var params params
	each := func(key, value string) {
		switch {
		case key == "parm" || key == "parmtype":
			if m.field == "" || m.field == "parm" {
				m.param(&params, key, value)
			} else if m.field == key {
				fmt.Fprintf(m.out, "%s%c", value, m.separator)
			}
		case m.field == key:
			fmt.Fprintf(m.out, "%s%c", value, m.separator)
		case m.field != "":
		case m.separator == 0:
			fmt.Fprintf(m.out, "%s=%s%c", key, value, m.separator)
		default:
			pad := 15 - len(key)
			if pad < 0 {
				pad = -pad // as printf takes a negative width
			}
			fmt.Fprintf(m.out, "%s:%*s%s%c", key, pad, "", value, m.separator)
		}
	}
	for key, value := range info.All() {
		each(key, value)
	}
	if signature != nil {
		each("sig_id", signature.Type)
		each("signer", signature.Signer)
		each("sig_key", hexLines(signature.Key))
		each("sig_hashalgo", signature.Hash)
		each("signature", hexLines(signature.Data))
	}
	switch m.field {
	case "":
		params.print(m, "parm:           ")
	case "parm":
		params.print(m, "")
	}
	return true
}

func (m *modinfo) read(name, path string, builtin bool) (modload.Info, *modload.Signature, error) {
	if builtin {
		if !m.index.BuiltIn(name) {
			return modload.Info{}, nil, fs.ErrNotExist
		}
		info, err := m.index.BuiltInInfo(name)
		return info, nil, err
	}
	f, err := modload.OpenModule(path)
	if err != nil {
		return modload.Info{}, nil, err
	}
	defer f.Close()
	info, err := f.Info()
	if err != nil {
		return info, nil, err
	}
	if s, ok := f.Signature(); ok {
		return info, &s, nil
	}
	return info, nil, nil
}

// params are a module's parameters: their lines parm=name:description and parmtype=name:type put together, the last one first.
type params []param

type param struct{ name, text, kind string }

func (m *modinfo) param(p *params, key, value string) {
	name, text, ok := strings.Cut(value, ":")
	if !ok {
		m.errorf("Found invalid \"%s=%s\": missing ':'", key, value)
		return
	}
	at := -1
	for i := range *p {
		if (*p)[i].name == name {
			at = i
		}
	}
	if at < 0 {
		at = len(*p)
		*p = append(*p, param{name: name, text: "\x00", kind: "\x00"})
	}
	if key == "parm" {
		(*p)[at].text = text
	} else {
		(*p)[at].kind = text
	}
}

func (p params) print(m *modinfo, label string) {
	for i := len(p) - 1; i >= 0; i-- {
		text, hasText := p[i].text, p[i].text != "\x00"
		kind, hasKind := p[i].kind, p[i].kind != "\x00"
		switch {
		case !hasText && label == "":
			fmt.Fprintf(m.out, "%s: (%s)", p[i].name, kind)
		case !hasText:
			fmt.Fprintf(m.out, "%s%s:%s", label, p[i].name, kind)
		case hasKind:
			fmt.Fprintf(m.out, "%s%s:%s (%s)", label, p[i].name, text, kind)
		default:
			fmt.Fprintf(m.out, "%s%s:%s", label, p[i].name, text)
		}
		m.out.WriteByte(m.separator)
	}
}

// hexLines writes bytes as 01:AB:…, twenty a line.
func hexLines(data []byte) string {
	var b strings.Builder
	for i, c := range data {
		fmt.Fprintf(&b, "%02X", c)
		if i < len(data)-1 {
			b.WriteByte(':')
			if (i+1)%20 == 0 {
				b.WriteString("\n\t\t")
			}
		}
	}
	return b.String()
}

func (a *applet) modinfoHelp() error {
	return a.help([]string{"[OPTION...] MODULE|ALIAS|FILE..."},
		"-a, --author\tshow the field author only",
		"-d, --description\tshow the field description only",
		"-l, --license\tshow the field license only",
		"-p, --parameters\tshow the parameters only",
		"-n, --filename\tshow the file's name only",
		"-0, --null\tend each line with a NUL byte",
		"-m, --modname\tthe argument is a module's name, no alias and no file",
		"-F, --field=FIELD\tshow this field only",
		"-k, --set-version=VERSION\tthe modules of this kernel, not of the running one",
		"-b, --basedir=DIR\tthe tree lies below DIR instead of /",
		treeHelp,
		"-V, --version\tshow the version",
		"-h, --help\tshow this")
}
