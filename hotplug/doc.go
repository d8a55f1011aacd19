// Package hotplug hears the kernel's uevents and keeps what a device manager keeps of a device: its node, its links,
// its record.
//
// An event's way through the package: a [Listener] receives it, a [Queue] gives it its turn among the events of its
// kin, a handler (the rule engine, as a rule) turns it into a [Result], [Roots.Apply] carries the result out, and a
// [Broadcaster] tells libudev's listeners.
//
// Everything that is read or written on a machine goes through one [Roots]: the directories that stand for /sys, /dev
// and /run. A test, a dry run or another machine's saved /sys is another Roots and nothing more.
package hotplug
