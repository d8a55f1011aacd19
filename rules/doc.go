// Package rules reads udev's rule language, compiles it, and evaluates it for one event at a time.
//
// [Parse] reads the files, [Compile] orders the rules so that an event touches only those that can match it, and
// [Program.Evaluate] gives a [hotplug.Result]. The package changes nothing itself: every effect of a rule goes
// through the [Host] at its line.
//
// The language is udev(7)'s, as systemd 257 reads it. kudev-rules(7), in cmd/kudev/man, lists where 252 reads it in
// another way, and where kudev does.
package rules
