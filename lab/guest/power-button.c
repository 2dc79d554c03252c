// Waits for the ACPI power button on any input device and then runs the given command in its place.
// It does nothing else: what a shutdown means is the command's business.
//
// usage: power-button COMMAND [ARGUMENT...]
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { DEVICES_MAX = 16 };

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  struct pollfd devices[DEVICES_MAX];
  nfds_t count = 0;
  for (int i = 0; i < DEVICES_MAX; i++) {
    char path[32];
    snprintf(path, sizeof path, "/dev/input/event%d", i);
    int fd = open(path, O_RDONLY);
    if (fd < 0) continue;
    devices[count].fd = fd;
    devices[count++].events = POLLIN;
  }
  if (count == 0) {
    printf("LAB-FAIL no power button\n");
    return 1;
  }
  for (;;) {
    if (poll(devices, count, -1) < 0) continue;
    for (nfds_t i = 0; i < count; i++) {
      struct input_event event;
      if (!(devices[i].revents & POLLIN)) continue;
      if (read(devices[i].fd, &event, sizeof event) != (ssize_t)sizeof event) continue;
      if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) {
        execv(argv[1], argv + 1);
        return 1;
      }
    }
  }
}
