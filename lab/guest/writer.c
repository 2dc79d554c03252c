// The guest's workload: appends numbered, checksummed records and acknowledges each one only after
// fdatasync. At start it verifies every record of earlier boots. It must never acknowledge a record
// that is not durable, nor hide a damaged one.
//
// usage: writer FILE PAUSE_MS
// prints: VERIFIED n | CORRUPT n reason | ACK n | STOPPED n | IOERR what reason
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_BYTES = 512, RECORDS_PER_READ = 512 };
static const uint32_t MAGIC = 0x4652434cu;

struct record {
  uint32_t magic;
  uint32_t checksum; // CRC-32 of everything after this field
  uint64_t number;
  uint8_t fill[RECORD_BYTES - 16];
};

static uint32_t crc_table[256];
static volatile sig_atomic_t stopping;

static void on_terminate(int signal_number) {
  (void)signal_number;
  stopping = 1;
}

static void make_crc_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
    crc_table[i] = c;
  }
}

static uint32_t checksum_of(const struct record *r) {
  const uint8_t *p = (const uint8_t *)&r->number;
  uint32_t c = ~0u;
  for (size_t n = RECORD_BYTES - 8; n > 0; n--) c = crc_table[(c ^ *p++) & 255] ^ (c >> 8);
  return ~c;
}

static void fill_record(struct record *r, uint64_t number) {
  uint64_t state = number * 0x9e3779b97f4a7c15ull + 1;
  for (size_t i = 0; i < sizeof r->fill; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    r->fill[i] = (uint8_t)state;
  }
  r->magic = MAGIC;
  r->number = number;
  r->checksum = checksum_of(r);
}

static int fail(const char *what) {
  printf("IOERR %s %s\n", what, strerror(errno));
  return 1;
}

// verify returns the number of good records from the start of the file; a damaged record that is
// followed by more data is reported, a torn last one was never acknowledged and is dropped.
static int verify(int fd, uint64_t *good) {
  static struct record batch[RECORDS_PER_READ];
  off_t size = lseek(fd, 0, SEEK_END);
  if (size < 0) return fail("seek");
  uint64_t n = 0;
  for (;;) {
    ssize_t got = pread(fd, batch, sizeof batch, (off_t)(n * RECORD_BYTES));
    if (got < 0) return fail("read");
    ssize_t whole = got / RECORD_BYTES;
    for (ssize_t i = 0; i < whole; i++, n++) {
      const struct record *r = &batch[i];
      if (r->magic == MAGIC && r->number == n + 1 && r->checksum == checksum_of(r)) continue;
      if ((off_t)((n + 1) * RECORD_BYTES) < size) {
        printf("CORRUPT %llu record\n", (unsigned long long)(n + 1));
        return 1;
      }
      *good = n;
      return 0;
    }
    if (got < (ssize_t)sizeof batch) break;
  }
  *good = n;
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGTERM, on_terminate);
  make_crc_table();
  useconds_t pause_us = (useconds_t)atoi(argv[2]) * 1000;
  int fd = open(argv[1], O_RDWR | O_CREAT, 0644);
  if (fd < 0) return fail("open");
  uint64_t n = 0;
  if (verify(fd, &n)) return 1;
  printf("VERIFIED %llu\n", (unsigned long long)n);
  if (ftruncate(fd, (off_t)(n * RECORD_BYTES)) || fsync(fd)) return fail("truncate");
  static struct record r;
  while (!stopping) {
    fill_record(&r, n + 1);
    if (pwrite(fd, &r, sizeof r, (off_t)(n * RECORD_BYTES)) != (ssize_t)sizeof r) return fail("write");
    if (fdatasync(fd)) return fail("sync");
    n++;
    printf("ACK %llu\n", (unsigned long long)n);
    if (pause_us) usleep(pause_us);
  }
  if (fsync(fd)) return fail("sync");
  close(fd);
  printf("STOPPED %llu\n", (unsigned long long)n);
  return 0;
}
