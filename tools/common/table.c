#include "tools/common/table.h"

#include "codec/base/check.h"

void text_table_init(struct text_table *table, const char *const *titles, size_t columns)
{
    CHECK(columns <= TABLE_COLUMNS_MAX);
    *table = (struct text_table){.titles = titles, .columns = columns};
}

void text_table_release(struct text_table *table)
{
    buffer_release(&table->cells);
    arena_release(&table->arena);
}

void text_table_cell(struct text_table *table, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *copy = arena_text(&table->arena, slice_from_text(text));
    buffer_append(&table->cells, &copy, sizeof copy);
}

static const char *title_text(const char *title)
{
    return *title == '>' ? title + 1 : title;
}

/* Characters of UTF-8: names of ACOs have umlauts. */
static size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

static void print_blanks(size_t count, FILE *out)
{
    fprintf(out, "%*s", (int)count, "");
}

void text_table_print(const struct text_table *table, FILE *out)
{
    size_t rows = table->cells.size / sizeof(char *) / table->columns;
    char *const *cells = (char *const *)(const void *)table->cells.data;
    size_t widths[TABLE_COLUMNS_MAX];
    for (size_t column = 0; column < table->columns; column++) {
        widths[column] = text_width(title_text(table->titles[column]));
        for (size_t row = 0; row < rows; row++) {
            size_t width = text_width(cells[row * table->columns + column]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
    }
    for (size_t row = 0; row <= rows; row++) {
        for (size_t column = 0; column < table->columns; column++) {
            const char *title = table->titles[column];
            const char *text = row ? cells[(row - 1) * table->columns + column] : title_text(title);
            bool is_last = column + 1 == table->columns, is_number = *title == '>';
            size_t blanks = widths[column] - text_width(text);
            print_blanks(is_number ? blanks : 0, out);
            fputs(text, out);
            if (!is_last)
                print_blanks((is_number ? 0 : blanks) + 2, out);
        }
        fputc('\n', out);
    }
}
