/**
 * A schema for execution in which the fields whose objects never change are leaves: their values are passed on as they
 * are, and nothing below them is executed.
 */
import {
  defaultFieldResolver,
  type GraphQLFieldConfigMap,
  type GraphQLFieldResolver,
  GraphQLInterfaceType,
  GraphQLList,
  type GraphQLNamedType,
  GraphQLNonNull,
  GraphQLObjectType,
  type GraphQLOutputType,
  GraphQLScalarType,
  GraphQLSchema,
  GraphQLUnionType,
  getNullableType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  isUnionType,
} from 'graphql'
import { isImmutable } from './shareable.ts'

/** Whatever a cut field has in place of its object or its list of objects. */
const LEAF = new GraphQLScalarType({ name: 'KeptText', serialize: (value) => value })

/** A field that is cut: what its type says about its values. */
export interface CutType {
  readonly object: GraphQLObjectType
  readonly isList: boolean
  /** Whether a null in the list is an error. */
  readonly isItemNonNull: boolean
}

/** @returns null for a type that is not cut: only objects that never change are, and lists of them */
export function cutTypeOf(type: GraphQLOutputType | null | undefined): CutType | null {
  if (!type) return null
  const outer = getNullableType(type)
  const isList = isListType(outer)
  const item = isList ? outer.ofType : outer
  const object = getNullableType(item)
  if (!isObjectType(object) || !isImmutable(object)) return null
  return { object, isList, isItemNonNull: isNonNullType(item) }
}

/** @param wrap - makes the resolver of a field that is cut from its own: what that returns is the leaf's value */
export function createCutSchema(
  schema: GraphQLSchema,
  wrap: (resolve: GraphQLFieldResolver<unknown, unknown>, type: CutType) => GraphQLFieldResolver<unknown, unknown>,
): GraphQLSchema {
  const types = new Map<string, GraphQLNamedType>()

  function typed<Type extends GraphQLOutputType>(type: Type): Type {
    if (isNonNullType(type)) return new GraphQLNonNull(typed(type.ofType)) as Type
    if (isListType(type)) return new GraphQLList(typed(type.ofType)) as Type
    return named(type) as Type
  }
  function named<Type extends GraphQLNamedType>(type: Type): Type {
    return (types.get(type.name) ?? type) as Type
  }
  function fieldsOf(fields: GraphQLFieldConfigMap<unknown, unknown>): GraphQLFieldConfigMap<unknown, unknown> {
    return Object.fromEntries(
      Object.entries(fields).map(([name, field]) => {
        const cut = cutTypeOf(field.type)
        if (cut === null) return [name, { ...field, type: typed(field.type) }]
        const type = isNonNullType(field.type) ? new GraphQLNonNull(LEAF) : LEAF
        return [name, { ...field, type, resolve: wrap(field.resolve ?? defaultFieldResolver, cut) }]
      }),
    )
  }

  /** What objects and interfaces have in common. */
  function membersOf({ interfaces, fields }: ReturnType<(GraphQLObjectType | GraphQLInterfaceType)['toConfig']>) {
    return { interfaces: () => interfaces.map(named), fields: () => fieldsOf(fields) }
  }

  for (const type of Object.values(schema.getTypeMap())) {
    if (type.name.startsWith('__')) continue
    if (isObjectType(type)) {
      const config = type.toConfig()
      types.set(type.name, new GraphQLObjectType({ ...config, ...membersOf(config) }))
    } else if (isInterfaceType(type)) {
      const config = type.toConfig()
      types.set(type.name, new GraphQLInterfaceType({ ...config, ...membersOf(config) }))
    } else if (isUnionType(type)) {
      const config = type.toConfig()
      types.set(type.name, new GraphQLUnionType({ ...config, types: () => config.types.map(named) }))
    }
  }
  const { query, mutation, subscription, ...rest } = schema.toConfig()
  const root = (type: GraphQLObjectType | null | undefined) => (type ? named(type) : null)
  return new GraphQLSchema({
    ...rest,
    query: root(query),
    mutation: root(mutation),
    subscription: root(subscription),
    types: rest.types.map(named),
    // The schema that documents are validated with is the whole one.
    assumeValid: true,
  })
}
