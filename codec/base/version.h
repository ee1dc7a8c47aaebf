/* The version of all programs. */
#ifndef CODEC_BASE_VERSION_H
#define CODEC_BASE_VERSION_H

#define SLUICE_VERSION "0.1.0"

#endif
