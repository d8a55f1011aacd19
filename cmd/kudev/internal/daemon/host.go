package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules/builtin"
)

// Machine is what hosts of all events share: the way out of the rules to the machine.
type Machine struct {
	Roots  hotplug.Roots
	Path   func(string) string // where a path of the machine lies
	Runner Runner
	Users  *userFiles
	Const  *constants
	Line   string // the kernel's command line
	Load   func(ctx context.Context, alias string, e *Entry) error

	mu      sync.RWMutex
	globals map[string]string // udevadm control --property
}

// SetGlobal sets a property of every event; an empty value removes it.
func (m *Machine) SetGlobal(key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value == "" {
		delete(m.globals, key)
		return
	}
	if m.globals == nil {
		m.globals = make(map[string]string)
	}
	m.globals[key] = value
}

// Globals returns them as KEY=value.
func (m *Machine) Globals() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []string
	for k, v := range m.globals {
		list = append(list, k+"="+v)
	}
	return list
}

// host is the rules' way out for one event: every effect is real, at its line.
type host struct {
	*Machine
	policy *Policy
	log    *log.Logger // the daemon's, or with said set the event's own; see Log
	said   bool
	event  *hotplug.Event
	device *hotplug.Device
	entry  *Entry
	done   bool // with the rules there is nothing more to do: no RUN
	caused bool // something was done from which further events may come
}

func (h *host) Attr(dev *hotplug.Device, name string) (string, error) { return dev.Attr(name) }

func (h *host) SetAttr(dev *hotplug.Device, name, value string) error {
	h.caused = true
	return dev.SetAttr(name, value)
}

func (h *host) Sysctl(name string) (string, error) {
	file, err := h.sysctl(name)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\n"), err
}

func (h *host) SetSysctl(name, value string) error {
	file, err := h.sysctl(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

func (h *host) sysctl(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("sysctl %s: it leads out of /proc/sys", name)
	}
	return h.Path("/proc/sys/" + name), nil
}

func (h *host) Builtin(ctx context.Context, name string, call *builtin.Call) error {
	if name == "kmod" {
		return h.kmod(ctx, call)
	}
	return h.policy.Builtins.Run(ctx, name, call)
}

// kmod loads what its arguments name, or what MODALIAS asks for. See udev(7): kmod load.
func (h *host) kmod(ctx context.Context, call *builtin.Call) error {
	if len(call.Args) == 0 || call.Args[0] != "load" {
		return errors.New("kmod: it is kmod load [ALIAS...]")
	}
	aliases := call.Args[1:]
	if len(aliases) == 0 {
		alias, ok := call.Get("MODALIAS")
		if !ok {
			return errors.New("kmod load: the device has no MODALIAS")
		}
		aliases = []string{alias}
	}
	var errs []error
	for _, alias := range aliases {
		if err := h.Load(ctx, alias, h.entry); err != nil {
			errs = append(errs, err)
		}
	}
	for _, m := range h.entry.Modules {
		if m.State == "loaded" || m.State == "failed" {
			h.caused = true
		}
	}
	return errors.Join(errs...)
}

// Program runs a program of PROGRAM or IMPORT{program}. What udev has of its own is done in-process, installed or not: most
// disks are asked so, and a process costs more than all the rest of an event. With its path the file is run, when it is there.
func (h *host) Program(ctx context.Context, line string, env []string, rule string) (string, error) {
	argv := hotplug.SplitCommand(line)
	if len(argv) > 0 && !strings.Contains(argv[0], "/") {
		if tool, ok := h.policy.Builtins.Tool(argv[0]); ok {
			return h.tool(ctx, tool, argv, env)
		}
	}
	h.caused = true
	out, err := h.Runner.Run(ctx, hotplug.Program{Line: line, Env: env, Rule: rule})
	if errors.Is(err, fs.ErrNotExist) && len(argv) > 0 {
		if tool, ok := h.policy.Builtins.Tool(argv[0]); ok {
			return h.tool(ctx, tool, argv, env)
		}
	}
	return out.Stdout, err
}

// tool does in-process what a helper program does. cdrom_id locks the drive's door, of which events may come; the others ask.
func (h *host) tool(ctx context.Context, tool builtin.ToolFunc, argv, env []string) (string, error) {
	h.caused = h.caused || path.Base(argv[0]) == "cdrom_id"
	var printed strings.Builder
	err := tool(ctx, h.toolCall(env), argv[1:], &printed)
	return printed.String(), err
}

// toolCall is what a helper program done in-process sees of the event: its environment and the device.
func (h *host) toolCall(env []string) *builtin.Call {
	all := func(yield func(string, string) bool) {
		for _, property := range env {
			if key, value, _ := strings.Cut(property, "="); !yield(key, value) {
				return
			}
		}
	}
	get := func(key string) (string, bool) {
		for k, v := range all {
			if k == key {
				return v, true
			}
		}
		return "", false
	}
	return &builtin.Call{Event: h.event, Device: h.device, Log: h.log, Get: get, Set: func(string, string) {}, All: all}
}

func (h *host) User(name string) (uint32, error)  { return h.Users.User(name) }
func (h *host) Group(name string) (uint32, error) { return h.Users.Group(name) }
func (h *host) Const(key string) string           { return h.Machine.Const.Const(key) }
func (h *host) CommandLine() string               { return h.Line }

// Log is the event's logger, made when there is something to say: of most events there is not.
func (h *host) Log() modload.Logger {
	if !h.said {
		h.said, h.log = true, h.log.With("device", h.event.Devpath(), "action", h.event.Action(), "seqnum", h.event.Seqnum())
	}
	return h.log
}

func (h *host) Global(key string) (string, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	v, ok := h.globals[key]
	return v, ok
}
