// Command lab is the stand-in for two vSphere sites and the line between them. `lab up` is what
// people start; the other subcommands are its child processes. The product never imports it.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: lab <command>

  lab up --home DIR --net 127.N --build DIR --scenario FILE   both sites, their guests and the WAN
  lab relay CONFIG      only a line in front of given addresses, for benches

Child processes of "lab up":
  lab vcenter CONFIG    one simulated vCenter with its hosts and guests
  lab wan CONFIG        the line between the sites
  lab bare CONFIG       a machine without an operating system
  lab reaper ...        ends what is left when the lab is killed
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	commands := map[string]func([]string) error{
		"up":      runUp,
		"vcenter": runVCenter,
		"wan":     runWan,
		"bare":    runBare,
		"relay":   runRelay,
		"reaper":  runReaper,
	}
	command, known := commands[os.Args[1]]
	if !known {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "lab %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
