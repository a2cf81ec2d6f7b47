"""How large may be what a stranger hands in: asked before it is read, parsed, built or decoded."""

from __future__ import annotations

RECIPE_BYTES = 1_000_000  # of a recipe, or a profile
YAML_NODES = 20_000  # of a document, each alias counted as all that it stands for
JSON_BYTES = 200_000_000  # of a file in a run directory
JSON_VALUES = 1_000_000  # of a JSON text
HEADER_BYTES = 16_000_000  # of a safetensors file
CHECKPOINT_BYTES = 16_000_000_000  # of a file of a run that is read through for its checksum
STATE_BYTES = 4_000_000_000  # of a state of training
DIRECTORY_BYTES = 128_000_000  # of what a .zip says it holds
CSV_BYTES = 256_000_000
ROW_CHARACTERS = 1_000_000  # of a row of a csv, also over several lines
CSV_CELLS = 20_000_000  # rows times columns
ENTRIES = 2_000_000  # rows of a csv, files of a .zip
FILE_BYTES = 256_000_000  # of one image file, also in a .zip
EXPANSION = 200  # times that an entry of a .zip may be larger than what is stored of it,
SMALL_BYTES = 1_000_000  # which is asked only of larger ones
IMAGE_PIXELS = 1 << 26  # 8192x8192, before it is resized
PIXEL_BYTES = 1 << 26  # of one image as it is kept
CHUNK_BYTES = 1 << 25  # of the images that a thread decodes at a time, if they are more than one
STAGES_SHOWN = 200  # in a report
