// Package rules reads udev's rule language, compiles it, and evaluates it for one event at a time.
//
// [Parse] reads the files, [Compile] orders the rules so that an event touches only those that can match it, and
// [Program.Evaluate] gives a [hotplug.Result]. The package changes nothing itself: every effect of a rule goes
// through the [Host] at its line.
//
// The language is udev(7)'s.
package rules
