package hotplug

import "iter"

// Event is one uevent: an action on a device, and its properties. It is one buffer and a table of offsets, parsed once
// and never changed afterwards, so it may be read by any number of goroutines.
// Format: kernel, lib/kobject_uevent.c: "ACTION@DEVPATH\0KEY=VALUE\0…".
type Event struct {
	buf string
}

// NewEvent makes an event as if the kernel had sent it. Each property is "KEY=value"; ACTION, DEVPATH and SUBSYSTEM
// come from the arguments.
func NewEvent(action, devpath, subsystem string, properties ...string) *Event { panic("not built yet") }

// ParseEvent parses one message. The event keeps its own copy of b.
func ParseEvent(b []byte) (*Event, error) { panic("not built yet") }

func (e *Event) Action() string     { panic("not built yet") } // add, remove, change, move, online, offline, bind, unbind
func (e *Event) Devpath() string    { panic("not built yet") }
func (e *Event) DevpathOld() string { panic("not built yet") } // on a move; else ""
func (e *Event) Subsystem() string  { panic("not built yet") }
func (e *Event) Seqnum() uint64     { panic("not built yet") } // 0 when there is none

// Get returns the value of key, and whether the event has it.
func (e *Event) Get(key string) (string, bool) { panic("not built yet") }

// All ranges over the event's properties in their order.
func (e *Event) All() iter.Seq2[string, string] { panic("not built yet") }
