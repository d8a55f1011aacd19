package modload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A RemoveRequest is what a [Loader] is asked to take out of the kernel. Only Name is needed.
type RemoveRequest struct {
	Name string // an alias, or the name of a module; - and _ are the same

	Holders        bool          // take out the modules that use it too
	Wait           time.Duration // try again for so long while it is in use
	Force          bool          // though it is in use; the kernel must be built for that
	IgnoreCommands bool          // remove lines do not count, nor do softdeps
	FirstTime      bool          // a module that is not there is an error
	IgnoreLoaded   bool          // do not look whether it is there
	DryRun         bool          // do everything but run commands and touch the kernel
	Step           func(Step)    // called before each thing that is done or, in a dry run, would be
}

var (
	// ErrNotLoaded is the error where a request with FirstTime finds its module not in the kernel.
	ErrNotLoaded = errors.New("not in kernel")
	// ErrBuiltIn is the error for a module that is part of the kernel.
	ErrBuiltIn = errors.New("builtin")
	// ErrInUse is the error for a module that something uses.
	ErrInUse = errors.New("in use")
)

// A RemoveError says why a module stays in the kernel. Its Err is ErrNotLoaded, ErrBuiltIn, ErrInUse, or the kernel's error number.
type RemoveError struct {
	Module  string
	Users   int
	Holders []string // the modules among its users
	Err     error
}

func (e *RemoveError) Error() string {
	switch {
	case errors.Is(e.Err, ErrInUse) && len(e.Holders) > 0:
		return fmt.Sprintf("remove %s: in use by %s", e.Module, listed(e.Holders))
	case errors.Is(e.Err, ErrInUse):
		return fmt.Sprintf("remove %s: in use (%d times)", e.Module, e.Users)
	}
	return fmt.Sprintf("remove %s: %v", e.Module, e.Err)
}

func (e *RemoveError) Unwrap() error { return e.Err }

func listed(names []string) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += ", "
		}
		s += n
	}
	return s
}

// Remove takes what a name or an alias stands for out of the kernel: what a softdep brought after it, with Holders what uses it, itself,
// then those of its dependencies that nobody uses any more, and what a softdep brought before it.
//
// A module that is not there is no error. Source: kmod, tools/modprobe.c, rmmod_do_module.
func (l *Loader) Remove(ctx context.Context, r RemoveRequest) error {
	l.enter()
	defer l.leave()
	index, err := l.source.Index()
	if err != nil {
		return fmt.Errorf("remove %s: %w", r.Name, err)
	}
	alias, ok := normalizeAlias(r.Name)
	if !ok {
		return fmt.Errorf("remove %s: bracket without its partner", r.Name)
	}
	found := slices.Collect(index.Match(alias))
	if len(found) == 0 {
		return &NotFoundError{Name: r.Name, Dir: index.Dir()}
	}
	j := removal{l, index, r, nil}
	for _, m := range found {
		if err := j.module(ctx, m.Module, r.Holders, false); err != nil {
			return err
		}
	}
	return nil
}

// RemoveModule takes one module out of the kernel as rmmod does: no dependencies, no configuration. It tries again for as long as wait says
// while the module is in use.
func RemoveModule(ctx context.Context, kernel Kernel, module string, force bool, wait time.Duration) error {
	var end time.Time
	for pause := time.Millisecond; ; pause *= 2 {
		err := kernel.Remove(module, force)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) || wait <= 0 {
			return &RemoveError{Module: module, Err: err}
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(wait)
		}
		left := end.Sub(now)
		if left <= 0 {
			return &RemoveError{Module: module, Err: err}
		}
		t := time.NewTimer(min(pause, left))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("remove %s: %w", module, ctx.Err())
		}
	}
}

type removal struct {
	loader  *Loader
	index   *Index
	request RemoveRequest
	path    []string // the modules whose removal has led here
}

// several removes modules, the last first.
func (j removal) several(ctx context.Context, modules []string, stop bool) error {
	for _, m := range slices.Backward(modules) {
		if err := j.module(ctx, m, false, true); err != nil && stop {
			return err
		}
	}
	return nil
}

func (j removal) softdeps(words []string) []string {
	var modules []string
	for _, w := range words {
		for m := range j.index.Match(w) {
			modules = append(modules, m.Module)
		}
	}
	return modules
}

// module removes one module. along is for one that was not asked for: that it is built in does not matter then.
func (j removal) module(ctx context.Context, name string, holders, along bool) error {
	if slices.Contains(j.path, name) {
		j.loader.options.Log.Warn("a loop is not followed", "module", j.request.Name, "loop", fmt.Sprintf("removing %s leads to removing it", name))
		return nil
	}
	j.path = append(slices.Clip(j.path), name)
	kernel, r := j.loader.kernel, j.request
	var soft Softdep
	var command Line
	var hasCommand bool
	if !r.IgnoreCommands {
		soft = j.index.policy.Softdeps(name)
		command, hasCommand = j.index.policy.RemoveCommand(name)
	}
	look := !hasCommand && !r.IgnoreLoaded
	if look {
		if j.index.BuiltIn(name) {
			if along {
				return nil
			}
			return &RemoveError{Module: name, Err: ErrBuiltIn}
		}
		if kernel.State(name) == ModuleAbsent {
			if r.FirstTime {
				return &RemoveError{Module: name, Err: ErrNotLoaded}
			}
			return nil
		}
	}
	_ = j.several(ctx, j.softdeps(soft.Post), false)
	if holders {
		_, users, err := kernel.Users(name)
		if err != nil {
			return &RemoveError{Module: name, Err: err}
		}
		if err := j.several(ctx, users, true); err != nil {
			return err
		}
	}
	if look && r.Wait <= 0 {
		if n, users, err := kernel.Users(name); err == nil && n > 0 {
			return &RemoveError{name, n, users, ErrInUse}
		}
	}
	if hasCommand {
		if err := j.command(ctx, command); err != nil {
			return err
		}
	} else {
		// One that used it may have taken it along, as a dependency that nobody uses any more.
		if !holders || !look || kernel.State(name) != ModuleAbsent {
			if err := j.take(ctx, name); err != nil {
				return err
			}
		}
		if e, ok := j.index.Lookup(name); ok {
			for _, dep := range slices.Backward(e.Deps) {
				if n, _, err := kernel.Users(dep); err == nil && n == 0 && kernel.State(dep) != ModuleAbsent && !j.index.BuiltIn(dep) {
					_ = j.take(ctx, dep)
				}
			}
		}
	}
	_ = j.several(ctx, j.softdeps(soft.Pre), false)
	return nil
}

func (j removal) command(ctx context.Context, line Line) error {
	if j.request.Step != nil {
		j.request.Step(Step{Module: line.Name, Command: line.Value, Remove: true})
	}
	if j.request.DryRun {
		return nil
	}
	if err := j.loader.options.Shell(ctx, line.Value, []string{"MODPROBE_MODULE=" + line.Name}); err != nil {
		return fmt.Errorf("remove %s: remove command (%s): %w", line.Name, line.Place(), err)
	}
	return nil
}

// take hands the removal to the kernel.
func (j removal) take(ctx context.Context, name string) error {
	r := j.request
	if r.Step != nil {
		r.Step(Step{Module: name, Remove: true})
	}
	if r.DryRun {
		return nil
	}
	err := RemoveModule(ctx, j.loader.kernel, name, r.Force, r.Wait)
	if errors.Is(err, unix.ENOENT) { // somebody was faster
		if r.FirstTime {
			return &RemoveError{Module: name, Err: ErrNotLoaded}
		}
		return nil
	}
	if errors.Is(err, unix.EAGAIN) {
		if n, users, e := j.loader.kernel.Users(name); e == nil && n > 0 {
			return &RemoveError{name, n, users, ErrInUse}
		}
	}
	return err
}
