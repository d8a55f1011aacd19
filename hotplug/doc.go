// Package hotplug hears the kernel's uevents and keeps what a device manager keeps of a device: its node, its links,
// its record.
//
// An event's way through the package: a [Listener] receives it, a [Queue] gives it its turn among the events of its
// kin, a handler (the rule engine, as a rule) turns it into a [Result], [Store.Apply] carries the result out, a
// [Runner] runs the programs that it asks for, and a [Broadcaster] tells libudev's listeners. [Queue.Settle] returns when
// everything that was there, and everything that it caused, has gone that way.
//
// Everything that is read or written on a machine goes through one [Roots]: the directories that stand for /sys, /dev
// and /run. A test, a dry run or another machine's saved /sys is another Roots and nothing more. No name and no link
// in them leads out of them.
//
// The formats of what is kept, /run/udev/data, tags, links, watch and queue, and of the broadcast, are udev's: what reads
// them with libudev goes on working. Package hotplugtest makes such directories from a short text, and a network
// namespace in which the kernel broadcasts what a test tells it to.
package hotplug
