package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules/builtin"
)

// Evaluate runs the rules for one event and returns what they decided. dev is the event's device. Effects that rules
// ask for at their line go through host, one after another; nothing else is changed. trace may be nil.
//
// The error is ctx's when it ended on the way; the result then is what was decided until there. Whatever else goes
// wrong concerns one line: it does not match, or sets nothing, and host.Log says so.
//
// Before the first line an event has its own properties. On "remove" it also has what the device's record holds,
// links and tags included; on other actions a rule gets at those by IMPORT{db}.
func (p *Program) Evaluate(ctx context.Context, ev *hotplug.Event, dev *hotplug.Device, host Host, trace *Trace) (hotplug.Result, error) {
	s := p.states.Get().(*state)
	s.begin(ctx, ev, dev, host, trace)
	pl := p.everyLine
	if trace == nil || !trace.All {
		pl = p.plan(s)
	}
	var err error
	for i := int(pl.first); i < len(pl.steps); {
		if err = ctx.Err(); err != nil {
			break
		}
		step := &pl.steps[i]
		if s.line(step.line, pl == p.everyLine) {
			i = int(step.jump)
		} else {
			i = int(step.next)
		}
	}
	res := s.result()
	s.end()
	p.states.Put(s)
	return res, err
}

// escapeMode is what OPTIONS="string_escape=…" says. It holds for its line.
type escapeMode uint8

const (
	escapeUnset escapeMode = iota
	escapeNone
	escapeReplace
)

// property is one KEY=value of the event.
type property struct {
	key, value string
	slot       int32 // -1 for a key that no rule names
	set        bool  // by a rule, not by the kernel
	gone       bool  // taken back
}

// state is one evaluation. It is kept for the next one.
type state struct {
	p     *Program
	ctx   context.Context
	ev    *hotplug.Event
	dev   *hotplug.Device
	host  Host
	trace *Trace
	step  Step   // of the line that runs, for the trace
	got   string // what the last match compared, for the trace
	rule  *Rule  // the line that runs

	kind eventKind
	key  []byte // of the plan

	hasNode bool
	remove  bool

	props []property
	slots []int32 // index in props plus 1 of the property with that slot; 0 for none

	record     *hotplug.Record // nil until it is asked for
	recordRead bool

	parent    *hotplug.Device // the device that the last line with parent keys chose: $id, $driver, $attr
	output    string          // what PROGRAM printed
	hasOutput bool
	onceRan   [len(builtins)]bool
	onceOK    [len(builtins)]bool
	escape    escapeMode
	call      builtin.Call // of the builtin that runs
	buf       []byte

	res        hotplug.Result
	links      []string
	tags       []string
	past       []string // tags that this event had, and a TAG-= took away
	forgetTags bool     // a TAG= dropped those of earlier events
	run        []hotplug.Command
	ownerFinal bool
	groupFinal bool
	modeFinal  bool
	nameFinal  bool
	linkFinal  bool
	runFinal   bool
	watchFinal bool
}

func newState(p *Program) *state {
	s := &state{p: p, slots: make([]int32, len(p.slots)), kind: eventKind{kernels: make([]uint64, p.kernels.words)}}
	s.call.Get = func(key string) (string, bool) { return s.get(key, -1) }
	s.call.Set = func(key, value string) { s.set(key, -1, value) }
	s.call.Unset = func(key string) { s.drop(key, -1) }
	return s
}

func (s *state) begin(ctx context.Context, ev *hotplug.Event, dev *hotplug.Device, host Host, trace *Trace) {
	s.ctx, s.ev, s.dev, s.host, s.trace = ctx, ev, dev, host, trace
	_, s.hasNode = dev.Devnum()
	s.kind.action = ev.Action()
	s.kind.subsystem = dev.Subsystem()
	s.remove = s.kind.action == "remove"
	s.kind.uses = useGoto | useOther
	if !s.remove {
		if s.hasNode {
			s.kind.uses |= useNode
		}
		if dev.Ifindex() > 0 {
			s.kind.uses |= useName
		}
	}
	s.p.kernels.match(dev.Sysname(), s.kind.kernels)
	for key, value := range ev.All() {
		if key == "DEVNAME" && !strings.HasPrefix(value, "/") {
			value = "/dev/" + value
		}
		s.put(key, value, false)
	}
	if s.remove {
		if rec := s.dbRecord(); rec != nil {
			for _, p := range rec.Properties {
				s.put(p.Key, p.Value, true)
			}
			s.links = append(s.links, rec.Links...)
			s.tags = append(s.tags, rec.CurrentTags...)
			s.res.Priority = rec.Priority
		}
	}
}

// end forgets everything that belongs to the event, and keeps the memory.
func (s *state) end() {
	for i := range s.props {
		if slot := s.props[i].slot; slot >= 0 {
			s.slots[slot] = 0
		}
	}
	clear(s.props)
	clear(s.links)
	clear(s.tags)
	clear(s.run)
	*s = state{
		p: s.p, slots: s.slots, kind: eventKind{kernels: s.kind.kernels}, key: s.key[:0], buf: s.buf[:0],
		props: s.props[:0], links: s.links[:0], tags: s.tags[:0], run: s.run[:0],
		call: builtin.Call{Get: s.call.Get, Set: s.call.Set, Unset: s.call.Unset},
	}
	if cap(s.buf) > 4*lineSize {
		s.buf = nil
	}
}

// planKey returns the bytes that name the event's kind.
func (s *state) planKey() []byte {
	k := append(s.key[:0], s.kind.action...)
	k = append(k, 0)
	k = append(k, s.kind.subsystem...)
	k = append(k, 0, byte(s.kind.uses))
	for _, word := range s.kind.kernels {
		for shift := 0; shift < 64; shift += 8 {
			k = append(k, byte(word>>shift))
		}
	}
	s.key = k
	return k
}

// dbRecord returns what the database held of the device when the event began, nil for nothing.
func (s *state) dbRecord() *hotplug.Record {
	if !s.recordRead {
		s.recordRead = true
		if rec, err := s.dev.Record(); err == nil {
			s.record = rec
		}
	}
	return s.record
}

// find returns the property, nil when the event does not have it. slot is the key's, -1 when that is not known.
func (s *state) find(key string, slot int32) *property {
	if slot < 0 {
		if n, ok := s.p.slots[key]; ok {
			slot = n
		}
	}
	if slot >= 0 {
		if i := s.slots[slot]; i > 0 {
			return &s.props[i-1]
		}
		return nil
	}
	for i := range s.props {
		if s.props[i].slot < 0 && s.props[i].key == key {
			return &s.props[i]
		}
	}
	return nil
}

// get returns a property's value, and whether the event has it.
func (s *state) get(key string, slot int32) (string, bool) {
	switch key {
	case "DEVLINKS":
		if len(s.links) > 0 {
			return "/dev/" + strings.Join(s.links, " /dev/"), true
		}
	case "CURRENT_TAGS":
		if len(s.tags) > 0 {
			return ":" + strings.Join(s.tags, ":") + ":", true
		}
	case "TAGS":
		if all := s.allTags(); len(all) > 0 {
			return ":" + strings.Join(all, ":") + ":", true
		}
	}
	if p := s.find(key, slot); p != nil && !p.gone {
		return p.value, true
	}
	return "", false
}

// getOrGlobal returns a property's value, or that of one that holds for every event; "" for none.
func (s *state) getOrGlobal(key string, slot int32) string {
	value, ok := s.get(key, slot)
	if !ok {
		value, _ = s.host.Global(key)
	}
	return value
}

// allTags are the tags of now and those that the device once had.
func (s *state) allTags() []string {
	var all []string
	if rec := s.dbRecord(); rec != nil && !s.forgetTags {
		all = rec.Tags
	}
	if len(all) == 0 && len(s.past) == 0 {
		return s.tags
	}
	all = slices.Clone(all)
	for _, list := range [...][]string{s.past, s.tags} {
		for _, tag := range list {
			if !slices.Contains(all, tag) {
				all = append(all, tag)
			}
		}
	}
	return all
}

// put sets a property. The empty value is a value: see drop.
func (s *state) put(key, value string, byRule bool) {
	slot, named := s.p.slots[key]
	if !named {
		slot = -1
	}
	s.putSlot(key, slot, value, byRule)
}

func (s *state) putSlot(key string, slot int32, value string, byRule bool) {
	if key == "" {
		return
	}
	if p := s.find(key, slot); p != nil {
		p.value, p.gone, p.set = value, false, byRule
		return
	}
	s.props = append(s.props, property{key: key, value: value, slot: slot, set: byRule})
	if slot >= 0 {
		s.slots[slot] = int32(len(s.props))
	}
}

// drop takes a property away.
func (s *state) drop(key string, slot int32) {
	if p := s.find(key, slot); p != nil {
		p.value, p.gone = "", true
	}
	s.did("ENV{"+key+"}", "=", "")
}

// line runs one line and says whether it matched. all means that its fixed tokens are not decided yet.
func (s *state) line(l *line, all bool) bool {
	s.rule = l.rule
	if s.trace != nil {
		s.traceBegin(l.rule)
	}
	if l.uses&s.kind.uses == 0 {
		if s.trace != nil {
			s.note("the line has nothing to do for this event")
			s.traceEnd(false, nil)
		}
		return false
	}
	tokens := l.tokens
	if all {
		for i := range l.fixed {
			if t := &tokens[i]; !t.decide(&s.kind) {
				s.got = s.fixedValue(t)
				s.traceEnd(false, t)
				return false
			}
		}
	}
	s.escape = escapeUnset
	for i := l.fixed; i < len(tokens); {
		t := &tokens[i]
		if t.kind.isParent() {
			end := i + 1
			for end < len(tokens) && tokens[end].kind.isParent() {
				end++
			}
			if failed := s.parents(tokens[i:end]); failed != nil {
				if s.trace != nil {
					s.traceEnd(false, failed)
				}
				return false
			}
			i = end
			continue
		}
		if t.kind.isMatch() {
			if !s.test(t) {
				if s.trace != nil {
					s.traceEnd(false, t)
				}
				return false
			}
		} else {
			s.apply(t)
		}
		i++
	}
	if s.trace != nil {
		s.traceEnd(true, nil)
	}
	return true
}

func (s *state) fixedValue(t *token) string {
	switch t.kind {
	case matchAction:
		return s.kind.action
	case matchSubsystem:
		return s.kind.subsystem
	}
	return s.dev.Sysname()
}

// result makes the event's result, which shares nothing with the state.
func (s *state) result() hotplug.Result {
	res := s.res
	n := 0
	for i := range s.props {
		if !s.props[i].gone {
			n++
		}
	}
	res.Properties = make([]hotplug.Property, 0, n)
	for i := range s.props {
		if p := &s.props[i]; !p.gone {
			res.Properties = append(res.Properties, hotplug.Property{Key: p.key, Value: p.value, Stored: p.set && p.key[0] != '.'})
		}
	}
	res.Links = append([]string(nil), s.links...)
	res.Tags = append([]string(nil), s.tags...)
	if s.forgetTags || len(s.past) > 0 {
		res.EverTags = append([]string{}, s.allTags()...)
	}
	res.Run = append([]hotplug.Command(nil), s.run...)
	return res
}

// say logs what went wrong at the line that runs.
func (s *state) say(level modload.Level, message string, args ...any) {
	if s.trace != nil {
		note := message
		for i := 0; i+1 < len(args); i += 2 {
			note += fmt.Sprintf(" %v=%v", args[i], args[i+1])
		}
		s.note(note)
	}
	log := s.host.Log()
	if log == nil {
		return
	}
	args = append([]any{"rule", s.rule}, args...)
	switch {
	case level >= modload.LevelError:
		log.Error(message, args...)
	case level >= modload.LevelWarn:
		log.Warn(message, args...)
	case level >= modload.LevelInfo:
		log.Info(message, args...)
	default:
		log.Debug(message, args...)
	}
}

func (s *state) note(text string) {
	if s.trace != nil {
		s.step.Notes = append(s.step.Notes, text)
	}
}
